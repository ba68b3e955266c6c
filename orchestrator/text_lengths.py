"""How long the texts of a network are expected to be, in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dln_core.graph import INPUT_NODE
from dln_core.layers import LanguageLayer, ToolLayer
from dln_core.network import Network
from orchestrator.call_costs import TEMPLATE_TOKENS, TaskSize, num_tokens

# Nothing is known beforehand of what a tool returns; a number or a short sentence is likely.
_TOOL_TOKENS = 10.0


@dataclass(frozen=True)
class TextLengths:
    """Expected lengths of what the nodes of a network read and write.

    Attributes:
        network: Its prompts are counted as they are.
        size: Mean lengths of the task's inputs and answers.
    """

    network: Network
    size: TaskSize

    def output(self, node: int) -> float:
        """What a node writes or should write; a hidden text is half as long as it may be."""
        if node == INPUT_NODE:
            return self.size.input_tokens
        layer = self.network.layers[self.network.graph.nodes[node].layer]
        if isinstance(layer, ToolLayer):
            return _TOOL_TOKENS
        is_answer = node in self.network.graph.answers
        return self.size.target_tokens if is_answer else layer.max_tokens / 2

    def body(self, node: int) -> float:
        """What a node reads."""
        return sum(self.output(shown.node) for shown in self.network.graph.nodes[node].fields)

    def prompt(self, node: int) -> float:
        """The whole request of a language node: template, prompt and what it reads."""
        place = self.network.graph.nodes[node]
        return self._parameters[place.layer, place.lane] + self.body(node)

    @cached_property
    def _parameters(self) -> dict[tuple[int, int], float]:
        """Template, instruction and shown demonstrations by layer and copy."""
        return {
            (index, lane): _parameter_tokens(layer.copy(lane))
            for index, layer in enumerate(self.network.layers)
            if isinstance(layer, LanguageLayer)
            for lane in range(layer.width)
        }


def _parameter_tokens(layer: LanguageLayer) -> float:
    demonstrations = layer.prompt.demonstrations
    shown = sum(num_tokens(each.input + each.output) for each in demonstrations)
    if layer.num_nearest is not None:
        shown *= min(1.0, layer.num_nearest / max(1, len(demonstrations)))
    return TEMPLATE_TOKENS + num_tokens(layer.prompt.instruction) + shown
