"""What prompts are ranked on: the texts that a prompt's nodes read and those they should write.

Axes of one part: ``J`` bodies that a node may read, ``T`` texts that it should write.
"""

from __future__ import annotations

from dataclasses import dataclass

from dln_core.types import Demonstration, Example, Prompt
from dln_core.vi.weights import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one node reads and should write.

    Attributes:
        node: The node.
        bodies: J distinct texts that it may read.
        targets: T hidden texts that it should write; empty for the example's answer (T = 1).
        weights: J x T, joint probabilities; they sum to one.
        avoided: A wrong hidden text that exploration moves away from.
        share: Weight of the part: 1, or 1 / M for each of M copies that answer.
    """

    node: int
    bodies: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Array
    avoided: str | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one example gives the nodes of a prompt to read and to write.

    Attributes:
        example: Where it comes from.
        input_field: The network's input as its layers read it.
        parts: One a node.
        row: Position of the example in the batch.
    """

    example: Example
    input_field: str
    parts: tuple[Part, ...]
    row: int

    def is_shown_in(self, prompt: Prompt) -> bool:
        """Tell whether the prompt holds this example as a worked one."""
        bodies = {body for part in self.parts for body in part.bodies}
        return any(
            shown.input in bodies or shows(shown, self.input_field)
            for shown in prompt.demonstrations
        )


def shows(demonstration: Demonstration, input_field: str) -> bool:
    """Tell whether a worked example is made from this network input, alone or with hidden text."""
    return f"\n{input_field}\n" in f"\n{demonstration.input}\n"
