"""A learned network as plain conversations, for programs that know nothing of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dln_core.errors import ConfigError
from dln_core.graph import Kind
from dln_core.layers import ToolLayer
from dln_core.network import EMPTY_HIDDEN, Network
from dln_core.types import Example

FORMAT = "dln-messages"
FORMAT_VERSION = 1
INPUT_TEXT = "input"


def messages_template(
    network: Network, model: str, input_text: str | None = None
) -> dict[str, Any]:
    """Write a network as conversations with placeholders.

    Whoever sends the conversations in their order, each placeholder replaced by the text that it
    stands for, asks what the network asks where it writes its answer.  All placeholders of a
    conversation are to be replaced at once, since a text that was filled in may look like another
    one.  They have more braces where a learned text looks like them.  A label prior, and a choice
    among labels by log-prob, no conversation can express.

    Args:
        network: What is exported.
        model: Name of the model that it was trained for.
        input_text: Stands for the placeholder of the input.

    Returns:
        JSON values: ``input`` is the input's placeholder, null where it is filled in.  ``layers``
        has an entry a text, in an order in which they can be made: with its ``messages``, or the
        ``tools`` that make it of texts, or the texts of which it is the ``majority``.  ``answer``
        names the texts that answer, and how they are joined.

    Raises:
        ConfigError: If a layer shows the examples nearest to a text that is not filled in.
    """
    names = _Names.of(network, input_text)
    nodes = network.graph.nodes
    entries = [
        {
            "layer": network.layers[node.layer].name,
            "text": names.texts[index],
            "placeholder": names.placeholders[index],
        }
        | _origin(network, index, names)
        for index, node in enumerate(nodes)
    ]
    answers = [names.texts[index] for index in network.graph.answers]
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "network": network.name,
        "model": model,
        "input": names.input if input_text is None else None,
        "empty_text": EMPTY_HIDDEN,
        "layers": entries,
        "answer": {"texts": answers, "join": network.layers[-1].join},
    }


def chat_requests(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write the body of an OpenAI-style chat request for each text that a model writes.

    Args:
        template: What ``messages_template`` returned.

    Returns:
        Entries with ``layer``, ``text`` and ``body``, in an order in which they can be sent.
    """
    return [
        {
            "layer": entry["layer"],
            "text": entry["text"],
            "body": {
                "model": template["model"],
                **entry["sampling"],
                "messages": entry["messages"],
            },
        }
        for entry in template["layers"]
        if "messages" in entry
    ]


@dataclass(frozen=True, slots=True)
class _Names:
    """What the texts of a forward pass are called, one a node.

    Attributes:
        texts: Names of the texts.
        placeholders: What stands for them.
        input: The input, or what stands for it.
        is_input_known: Which of the two.
    """

    texts: tuple[str, ...]
    placeholders: tuple[str, ...]
    input: str
    is_input_known: bool

    @classmethod
    def of(cls, network: Network, input_text: str | None) -> _Names:
        texts: list[str] = []
        for node in network.graph.nodes:
            layer = network.layers[node.layer]
            is_copy = layer.width > 1 and node.kind is not Kind.majority
            name = f"{layer.name}_{node.lane + 1}" if is_copy else layer.name
            while name in texts:
                name += "_"
            texts.append(name)
        opening, closing = _braces([*texts, INPUT_TEXT], [*_said(network), input_text or ""])
        marks = tuple(opening + name + closing for name in texts)
        shown = opening + INPUT_TEXT + closing if input_text is None else input_text
        return cls(tuple(texts), marks, shown, input_text is not None)


def _said(network: Network) -> list[str]:
    """All that the conversations say whatever the input is."""
    said = [network.input_name, *(layer.output_name for layer in network.layers)]
    for prompt in network.prompts():
        said.append(prompt.instruction)
        said += [text for shown in prompt.demonstrations for text in (shown.input, shown.output)]
    return said


def _braces(names: list[str], said: list[str]) -> tuple[str, str]:
    """As many braces as it takes to tell names from what is said."""
    opening, closing = "{", "}"
    while any(opening + name + closing in text for name in names for text in said):
        opening, closing = opening + "{", closing + "}"
    return opening, closing


def _origin(network: Network, index: int, names: _Names) -> dict[str, Any]:
    """Say how a text comes about."""
    node = network.graph.nodes[index]
    layer = network.layers[node.layer]
    sources = [names.texts[parent] for parent in node.parents]
    if node.kind is Kind.majority:
        return {"majority": sources}
    if isinstance(layer, ToolLayer):
        return {"tools": list(layer.tools), "reads": sources}
    writer = network.writer(index)
    if writer.num_nearest is not None and (sources or not names.is_input_known):
        raise ConfigError(
            f"layer {layer.name} shows the {writer.num_nearest} examples nearest to what it reads, "
            "which no fixed text can; give the text of an input, or use dln_core.load_network"
        )
    example = Example(id="", input=names.input, target="")
    body = network.body(index, example, dict(enumerate(names.placeholders)))
    return {
        "messages": [
            {"role": message.role, "content": message.text} for message in writer.messages(body)
        ],
        "sampling": {
            "max_tokens": writer.max_tokens,
            "temperature": writer.temperature,
            "seed": node.lane,
        },
    }
