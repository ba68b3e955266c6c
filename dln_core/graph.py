"""The graph of a network: which text is written from which others.

A layer of width M becomes M language nodes, its copies.  Layers of tools and joins by majority
become nodes too, whose text follows from what they read.  Nodes are in the order in which they can
be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dln_core.config import INPUT
from dln_core.layers import Layer, ToolLayer

INPUT_NODE = -1


class Kind(StrEnum):
    """How the text of a node comes about."""

    language = "language"
    tools = "tools"
    majority = "majority"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of what a node reads.

    Attributes:
        name: Field name before the text.
        node: Where the text comes from; ``INPUT_NODE`` for the network's input.
    """

    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Node:
    """One text of a forward pass.

    Attributes:
        layer: Index of its layer.
        lane: Which copy of the layer.
        kind: How the text comes about.
        fields: What it reads, in order.
    """

    layer: int
    lane: int
    kind: Kind
    fields: tuple[Field, ...]

    @property
    def parents(self) -> tuple[int, ...]:
        """The nodes that it reads."""
        return tuple(field.node for field in self.fields if field.node != INPUT_NODE)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one prompt: a layer, and which of the layer's prompts."""

    layer: int
    prompt: int


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes of a network.

    Attributes:
        nodes: In an order in which they can be computed.
        answers: The copies of the last layer.
        stages: Nodes that can be computed side by side, one stage after the other.
    """

    nodes: tuple[Node, ...]
    answers: tuple[int, ...]
    stages: tuple[tuple[int, ...], ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """The language nodes whose text is hidden."""
        return tuple(
            index
            for index, node in enumerate(self.nodes)
            if node.kind is Kind.language and index not in self.answers
        )

    def is_written(self, index: int) -> bool:
        """Whether a language model writes the node; else its text follows from what it reads."""
        return self.nodes[index].kind is Kind.language

    def readers(self, index: int) -> tuple[int, ...]:
        """The language nodes that read a node, directly or through tools and joins."""
        found: list[int] = []
        for other, node in enumerate(self.nodes):
            if index in node.parents:
                direct = node.kind is Kind.language
                found += [other] if direct else self.readers(other)
        return tuple(dict.fromkeys(found))

    def after(self, indices: Sequence[int]) -> set[int]:
        """The given nodes and all that depend on them."""
        reached = set(indices)
        for other, node in enumerate(self.nodes):
            if reached.intersection(node.parents):
                reached.add(other)
        return reached


def expand(layers: Sequence[Layer], input_name: str) -> Graph:
    """Lay out the nodes of layers that were checked when they were configured."""
    nodes: list[Node] = []
    stages: list[tuple[int, ...]] = []
    # For each layer the nodes that its readers see, and whether copy m is for copy m alone.
    seen: dict[str, tuple[list[int], bool]] = {}
    for index, layer in enumerate(layers):
        kind = Kind.tools if isinstance(layer, ToolLayer) else Kind.language
        first = len(nodes)
        for lane in range(layer.width):
            fields = _fields(layer, lane, layers, seen, input_name)
            nodes.append(Node(index, lane, kind, tuple(fields)))
        copies = list(range(first, len(nodes)))
        stages.append(tuple(copies))
        is_last = index == len(layers) - 1
        if layer.join == "majority" and not is_last:
            votes = tuple(Field(layer.output_name, copy) for copy in copies)
            nodes.append(Node(index, 0, Kind.majority, votes))
            stages.append((len(nodes) - 1,))
            copies = [len(nodes) - 1]
        seen[layer.name] = (copies, layer.width > 1 and layer.join is None)
    return Graph(tuple(nodes), stages[-1], tuple(stages))


def _fields(
    layer: Layer,
    lane: int,
    layers: Sequence[Layer],
    seen: dict[str, tuple[list[int], bool]],
    input_name: str,
) -> list[Field]:
    names = {other.name: other.output_name for other in layers}
    fields: list[Field] = []
    for read in layer.reads:
        if read == INPUT:
            fields.append(Field(input_name, INPUT_NODE))
            continue
        copies, in_lanes = seen[read]
        if in_lanes:
            fields.append(Field(names[read], copies[lane]))
        elif len(copies) == 1:
            fields.append(Field(names[read], copies[0]))
        else:
            fields += [
                Field(f"{names[read]} {number}", copy) for number, copy in enumerate(copies, 1)
            ]
    return fields
