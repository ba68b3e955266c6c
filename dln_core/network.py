"""A network: a chain of language layers whose outputs between input and answer are hidden texts.

Layers are indexed from 0, the one that reads the input; the last one answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dln_core.config import LayerConfig, NetworkConfig
from dln_core.layers import LanguageLayer
from dln_core.llm.base import Choice, LanguageModel
from dln_core.tasks.task import Task
from dln_core.templates import load_template
from dln_core.types import Demonstration, Example, Message, Prompt, Role
from dln_core.vi.weights import Array, log_softmax

EMPTY_HIDDEN = "(nothing)"
HIDDEN_OUTPUT_NAME = "Thoughts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a forward pass wrote.

    Attributes:
        outputs: One text a layer; the last one is the prediction.
        label_logprobs: Log-probs (nats) of the example's labels, normalised over them; None for
            free-text answers.
    """

    outputs: tuple[str, ...]
    label_logprobs: Array | None = None

    @property
    def prediction(self) -> str:
        """The answer."""
        return self.outputs[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A chain of language layers.

    Attributes:
        name: Name in results.
        input_name: Field name before the input.
        layers: The layers, input first.
    """

    name: str
    input_name: str
    layers: tuple[LanguageLayer, ...]

    def body(self, index: int, example: Example, previous: str | None) -> str:
        """Write what layer ``index`` reads: the input, the output before it, or both."""
        layer, fields = self.layers[index], []
        if index == 0 or layer.residual:
            fields.append(self.input_field(example))
        if index > 0:
            fields.append(f"{self.layers[index - 1].output_name}: {previous}")
        return "\n".join(fields)

    def input_field(self, example: Example) -> str:
        """The network's input as its layers read it."""
        return f"{self.input_name}: {example.input}"

    def with_layer(self, index: int, layer: LanguageLayer) -> Network:
        """Return the network with one layer replaced."""
        return replace(self, layers=(*self.layers[:index], layer, *self.layers[index + 1 :]))

    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of all layers."""
        return tuple(layer.prompt for layer in self.layers)

    async def forward(
        self,
        model: LanguageModel,
        example: Example,
        *,
        role: Role,
        label_bias: Mapping[str, float] | None = None,
    ) -> Trace:
        """Run the network on one example at temperature 0.

        Args:
            model: The language model of all layers.
            example: What is read; its target is never looked at.
            role: What the calls are counted as.
            label_bias: Log-probs (nats) that are subtracted from the labels' before choosing.
        """
        outputs: list[str] = []
        previous: str | None = None
        for index, layer in enumerate(self.layers[:-1]):
            request = layer.generation(self.body(index, example, previous), role=role)
            response = await model.send(request)
            # An empty hidden text would be the most probable one of all.
            previous = response.choices[0].text or EMPTY_HIDDEN
            outputs.append(previous)
        body = self.body(len(self.layers) - 1, example, previous)
        return await self._answer(model, example, body, tuple(outputs), role, label_bias or {})

    async def _answer(
        self,
        model: LanguageModel,
        example: Example,
        body: str,
        outputs: tuple[str, ...],
        role: Role,
        label_bias: Mapping[str, float],
    ) -> Trace:
        layer = self.layers[-1]
        if not example.labels:
            response = await model.send(layer.generation(body, role=role))
            return Trace(outputs=(*outputs, response.choices[0].text))
        response = await model.send(layer.scoring(body, example.labels, role=role))
        log_probs = label_log_probs(response.choices)
        bias = np.array([label_bias.get(label, 0.0) for label in example.labels])
        best = example.labels[int(np.argmax(log_probs - bias))]
        return Trace(outputs=(*outputs, best), label_logprobs=log_probs)

    def render(self, example: Example) -> list[tuple[str, tuple[Message, ...]]]:
        """Write the conversation of each layer on one example, with stand-ins for hidden texts."""
        rendered: list[tuple[str, tuple[Message, ...]]] = []
        previous: str | None = None
        for index, layer in enumerate(self.layers):
            rendered.append((layer.name, layer.messages(self.body(index, example, previous))))
            previous = f"<what {layer.name} writes>"
        return rendered

    def to_dict(self) -> dict[str, Any]:
        """Return the network as plain JSON values."""
        return {
            "name": self.name,
            "input_name": self.input_name,
            "layers": [layer.to_dict() for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Network:
        """Read what ``to_dict`` wrote."""
        return cls(
            name=values["name"],
            input_name=values["input_name"],
            layers=tuple(LanguageLayer.from_dict(layer) for layer in values["layers"]),
        )


def label_log_probs(choices: Sequence[Choice]) -> Array:
    """Log-probs (nats) of labels, normalised over the labels that were scored."""
    return log_softmax(np.array([choice.logprob for choice in choices]))


def build_network(config: NetworkConfig, task: Task, shots: Sequence[Example] = ()) -> Network:
    """Make the initial network of a trial.

    Args:
        config: The layers.
        task: Gives the instruction and the output bound of layers that have none of their own,
            and the names of the fields.
        shots: Training examples that the answering layer is given as demonstrations.
    """
    layers = [_build_layer(layer, task) for layer in config.layers]
    layers[-1] = replace(layers[-1], output_name=task.output_name)
    network = Network(name=config.name, input_name=task.input_name, layers=tuple(layers))
    last = len(layers) - 1
    demonstrations = tuple(
        Demonstration(network.body(last, shot, EMPTY_HIDDEN), shot.target) for shot in shots
    )
    prompt = replace(layers[-1].prompt, demonstrations=demonstrations)
    return network.with_layer(last, network.layers[last].with_prompt(prompt))


def _build_layer(config: LayerConfig, task: Task) -> LanguageLayer:
    return LanguageLayer(
        name=config.name,
        template=load_template(config.template),
        output_name=HIDDEN_OUTPUT_NAME,
        prompt=Prompt(task.instruction if config.instruction is None else config.instruction),
        residual=config.residual,
        trained=config.trained,
        max_tokens=config.max_tokens or task.max_answer_tokens,
    )
