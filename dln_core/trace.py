"""What a forward pass wrote, and how single texts of it are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from dln_core.voting import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a forward pass wrote.

    Attributes:
        texts: One text a node.
        answer: The prediction, with the log-probs (nats) of the example's labels, if it has any.
        num_answers: How many of the nodes, the last ones, answer.
    """

    texts: tuple[str, ...]
    answer: Answer
    num_answers: int = 1

    @property
    def prediction(self) -> str:
        """The network's answer."""
        return self.answer.text

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts between input and answer."""
        return self.texts[: -self.num_answers]


@dataclass(frozen=True, slots=True)
class Draw:
    """How a node is sampled instead of being written at its layer's temperature."""

    temperature: float
    seed: int
