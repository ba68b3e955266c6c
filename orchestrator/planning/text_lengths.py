"""How long the texts of a network are expected to be, in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dln_core.graph import INPUT_NODE
from dln_core.layers import LanguageLayer, ToolLayer
from dln_core.network import Network
from dln_core.types import Prompt
from orchestrator.planning.call_costs import TEMPLATE_TOKENS, TaskSize

# Nothing is known beforehand of what a tool returns; a number or a short sentence is likely.
_TOOL_TOKENS = 10.0


@dataclass(frozen=True)
class TextLengths:
    """Expected lengths of what the nodes of a network read and write.

    Attributes:
        network: Its prompts are counted as they are.
        size: Mean lengths of the task's inputs and answers.
        written: Share of what it may be that a hidden text's length is.
    """

    network: Network
    size: TaskSize
    written: float = 0.5

    def output(self, node: int) -> float:
        """What a node writes or should write."""
        if node == INPUT_NODE:
            return self.size.input_tokens
        layer = self.network.layers[self.network.graph.nodes[node].layer]
        if isinstance(layer, ToolLayer):
            return _TOOL_TOKENS
        is_answer = node in self.network.graph.answers
        return self.size.target_tokens if is_answer else layer.max_tokens * self.written

    def body(self, node: int) -> float:
        """What a node reads, with the names of its fields."""
        fields = self.network.graph.nodes[node].fields
        names = sum(self.size.num_tokens(f"{shown.name}: ") for shown in fields)
        return names + sum(self.output(shown.node) for shown in fields)

    def prompt(self, node: int) -> float:
        """The whole request of a language node: template, prompt and what it reads."""
        place = self.network.graph.nodes[node]
        return self._parameters[place.layer, place.lane] + self.body(node)

    def shown(self, node: int) -> float:
        """One worked example of a language node."""
        return 2 * self.size.turn_tokens + self.body(node) + self.output(node)

    @cached_property
    def _parameters(self) -> dict[tuple[int, int], float]:
        """Template, instruction and shown demonstrations by layer and copy."""
        return {
            (index, lane): self._parameter_tokens(layer.copy(lane))
            for index, layer in enumerate(self.network.layers)
            if isinstance(layer, LanguageLayer)
            for lane in range(layer.width)
        }

    def _parameter_tokens(self, layer: LanguageLayer) -> float:
        demonstrations, size = layer.prompt.demonstrations, self.size
        shown = sum(size.num_tokens(each.input + each.output) for each in demonstrations)
        shown += 2 * size.turn_tokens * len(demonstrations)
        if layer.num_nearest is not None:
            shown *= min(1.0, layer.num_nearest / max(1, len(demonstrations)))
        bare = Prompt(layer.prompt.instruction)
        turns = layer.template.messages(bare, body="", output_name=layer.output_name)
        return size.turn_tokens + sum(size.num_tokens(turn.text) for turn in turns) + shown


def answering_prompt(size: TaskSize) -> float:
    """The request of a single layer that has the task's instruction."""
    return size.turn_tokens + TEMPLATE_TOKENS + size.instruction_tokens + size.input_tokens
