"""Log-probs of the tokens of a text as the model reads it, plainly from its start."""

from __future__ import annotations

from dataclasses import dataclass, field

from dln_core.llm.local.model import Distribution
from dln_core.llm.local.scheduler import Reading
from dln_core.llm.local.tokens import Tokens

TopTokens = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Echo:
    """What the model made of a text as it read it.

    Attributes:
        logprobs: [T] nats; the first is NaN, as nothing stands before it.
        top: [T] the most probable tokens at each place with their log-probs; the first is empty.
    """

    logprobs: tuple[float, ...]
    top: tuple[TopTokens, ...]


@dataclass(slots=True, eq=False)
class EchoTask:
    """An echo under way.

    Attributes:
        tokens: The text, at least one token.
        num_top: How many of the most probable tokens are named at each place.
    """

    tokens: Tokens
    num_top: int = 1
    readings: list[Reading] = field(default_factory=list)
    _logprobs: list[float] = field(default_factory=lambda: [float("nan")])
    _top: list[TopTokens] = field(default_factory=lambda: [()])

    def __post_init__(self) -> None:
        if len(self.tokens) > 1:
            self.readings.append(Reading(self.tokens[:-1], 0, self._read))

    def result(self) -> Echo:
        """Return the echo once the text was read."""
        return Echo(tuple(self._logprobs), tuple(self._top))

    def _read(self, position: int, expected: Distribution) -> None:
        self._logprobs.append(expected.logprob(self.tokens[position + 1]))
        self._top.append(expected.top(self.num_top))
