"""A network: a graph of layers whose texts between input and answer are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.graph import INPUT_NODE, Graph, Kind, Node, Slot, expand
from dln_core.layers import LanguageLayer, Layer, ToolLayer, layer_from_dict
from dln_core.llm.base import LanguageModel, Request
from dln_core.tools import load_tools, observe
from dln_core.trace import Draw, Trace
from dln_core.types import Example, Prompt, Role
from dln_core.vi.weights import log_softmax
from dln_core.voting import Answer, join_answers, label_log_probs, most_frequent

EMPTY_HIDDEN = "(nothing)"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A graph of layers; the last layer answers.

    Attributes:
        name: Name in results.
        input_name: Field name before the input.
        layers: The layers, input first.
        label_bias: Log-probs (nats) subtracted from the labels' before the answer is chosen.
    """

    name: str
    input_name: str
    layers: tuple[Layer, ...]
    label_bias: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        """The nodes that the layers amount to."""
        return expand(self.layers, self.input_name)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The places of all prompts."""
        return tuple(
            Slot(index, number)
            for index, layer in enumerate(self.layers)
            for number in range(len(layer.prompts))
        )

    def prompt(self, slot: Slot) -> Prompt:
        """The prompt at a place."""
        return self.layers[slot.layer].prompts[slot.prompt]

    def with_prompt(self, slot: Slot, prompt: Prompt) -> Network:
        """Return the network with one prompt replaced; its label bias no longer holds."""
        layer = self.writer_layer(slot.layer).with_prompt(prompt, slot.prompt)
        layers = (*self.layers[: slot.layer], layer, *self.layers[slot.layer + 1 :])
        return replace(self, layers=layers, label_bias={})

    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, in the order of their slots."""
        return tuple(self.prompt(slot) for slot in self.slots)

    def nodes_of(self, slot: Slot) -> tuple[int, ...]:
        """The nodes that are written under a prompt."""
        layer = self.writer_layer(slot.layer)
        return tuple(
            index
            for index, node in enumerate(self.graph.nodes)
            if node.layer == slot.layer
            and node.kind is Kind.language
            and layer.prompt_index(node.lane) == slot.prompt
        )

    def writer(self, index: int) -> LanguageLayer:
        """The layer that writes a language node, with the one prompt that the node uses."""
        node = self.graph.nodes[index]
        return self.writer_layer(node.layer).copy(node.lane)

    def writer_layer(self, index: int) -> LanguageLayer:
        """A layer that has prompts.

        Raises:
            TypeError: If the layer consists of tools.
        """
        layer = self.layers[index]
        if isinstance(layer, ToolLayer):
            raise TypeError(f"layer {layer.name} consists of tools and has no prompt")
        return layer

    def body(
        self, index: int, example: Example, texts: Mapping[int, str], *, with_input: bool = True
    ) -> str:
        """Write what a node reads.

        Args:
            index: The node.
            example: Gives the network's input.
            texts: The texts of the nodes that it reads.
            with_input: Whether the input is shown, if the node reads it.
        """
        lines = [
            f"{shown.name}: {example.input if shown.node == INPUT_NODE else texts[shown.node]}"
            for shown in self.graph.nodes[index].fields
            if with_input or shown.node != INPUT_NODE
        ]
        return "\n".join(lines)

    def input_field(self, example: Example) -> str:
        """The network's input as its layers read it."""
        return f"{self.input_name}: {example.input}"

    def complete(self, texts: Mapping[int, str]) -> dict[int, str]:
        """Add the texts of tools and joins whose sources are all there."""
        known = dict(texts)
        for index, node in enumerate(self.graph.nodes):
            if node.kind is not Kind.language and all(parent in known for parent in node.parents):
                known[index] = self._follow(node, known)
        return known

    async def run(
        self,
        model: LanguageModel,
        example: Example,
        *,
        role: Role,
        given: Mapping[int, str] | None = None,
        draws: Mapping[int, Draw] | None = None,
    ) -> Trace:
        """Run the network on one example.

        Args:
            model: The language model of all layers.
            example: What is read; its target is never looked at.
            role: What the calls are counted as.
            given: Texts of nodes that are not written but taken as they are.
            draws: Nodes that are sampled in their own way.
        """
        texts: dict[int, str] = dict(given or {})
        for stage in self.graph.stages[:-1]:
            missing = [index for index in stage if index not in texts]

            async def write(index: int) -> str:
                return await self._write(index, model, example, texts, role, draws or {})

            texts.update(zip(missing, await map_bounded(write, missing), strict=True))

        async def answer(index: int) -> Answer:
            return await self._answer(index, model, example, texts, role, draws or {})

        answers = await map_bounded(answer, self.graph.answers)
        texts.update(zip(self.graph.answers, (one.text for one in answers), strict=True))
        return Trace(
            texts=tuple(texts[index] for index in range(len(self.graph.nodes))),
            answer=join_answers(answers, example.labels, self.layers[-1].join),
            num_answers=len(answers),
        )

    async def _write(
        self,
        index: int,
        model: LanguageModel,
        example: Example,
        texts: Mapping[int, str],
        role: Role,
        draws: Mapping[int, Draw],
    ) -> str:
        node = self.graph.nodes[index]
        if node.kind is not Kind.language:
            return self._follow(node, texts)
        writer = self.writer(index)
        draw = draws.get(index, Draw(writer.temperature, node.lane))
        request = writer.generation(
            self.body(index, example, texts),
            role=role,
            temperature=draw.temperature,
            seed=draw.seed,
        )
        # An empty hidden text would be the most probable one of all.
        return (await model.send(request)).choices[0].text.strip() or EMPTY_HIDDEN

    def _follow(self, node: Node, texts: Mapping[int, str]) -> str:
        """The text that tools or a join make of what they read."""
        read = [texts[parent] for parent in node.parents]
        layer = self.layers[node.layer]
        if isinstance(layer, ToolLayer):
            return observe(load_tools(layer.tools), "\n".join(read))
        return most_frequent(read)

    async def _answer(
        self,
        index: int,
        model: LanguageModel,
        example: Example,
        texts: Mapping[int, str],
        role: Role,
        draws: Mapping[int, Draw],
    ) -> Answer:
        writer, body = self.writer(index), self.body(index, example, texts)
        if example.labels:
            response = await model.send(writer.scoring(body, example.labels, role=role))
            bias = np.array([self.label_bias.get(label, 0.0) for label in example.labels])
            log_probs = log_softmax(label_log_probs(response.choices) - bias)
            return Answer(example.labels[int(np.argmax(log_probs))], log_probs)
        draw = draws.get(index, Draw(writer.temperature, self.graph.nodes[index].lane))
        request = writer.generation(body, role=role, temperature=draw.temperature, seed=draw.seed)
        answer = (await model.send(request)).choices[0].text
        if self.layers[-1].join != "vote" or not answer.strip():
            return Answer(answer)
        scored = await model.send(writer.scoring(body, [answer], role=role))
        return Answer(answer, weight=float(np.exp(scored.choices[0].mean_logprob)))

    def prepare(self) -> None:
        """Index the demonstrations that are chosen by nearness, which takes seconds.

        Call it in a thread before the first run, which would otherwise hold up the event loop.
        """
        for index, node in enumerate(self.graph.nodes):
            if node.kind is Kind.language and self.writer(index).num_nearest is not None:
                self.writer(index).messages("")

    def requests(self, example: Example, *, role: Role) -> list[tuple[str, Request]]:
        """Write the request of each language node, with stand-ins for hidden texts."""
        nodes = self.graph.nodes
        stand_ins = {i: f"<what {self.layers[n.layer].name} gives>" for i, n in enumerate(nodes)}
        requests: list[tuple[str, Request]] = []
        for index, node in enumerate(nodes):
            if node.kind is not Kind.language:
                continue
            writer, body = self.writer(index), self.body(index, example, stand_ins)
            if index in self.graph.answers and example.labels:
                request: Request = writer.scoring(body, example.labels, role=role)
            else:
                request = writer.generation(body, role=role, seed=node.lane)
            requests.append((self.layers[node.layer].name, request))
        return requests

    def to_dict(self) -> dict[str, Any]:
        """Return the network as plain JSON values."""
        return {
            "name": self.name,
            "input_name": self.input_name,
            "layers": [layer.to_dict() for layer in self.layers],
            "label_bias": dict(self.label_bias),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Network:
        """Read what ``to_dict`` wrote."""
        return cls(
            name=values["name"],
            input_name=values["input_name"],
            layers=tuple(layer_from_dict(layer) for layer in values["layers"]),
            label_bias=values["label_bias"],
        )
