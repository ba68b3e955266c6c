"""Exact log-probs of given texts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dln_core.llm.local.model import Distribution
from dln_core.llm.local.scheduler import Read, Reading
from dln_core.llm.local.tokens import Tokens


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Ask for log p(target | context) of every target.

    Attributes:
        context: At least one token.
        targets: Of at least one token each.
    """

    context: Tokens
    targets: tuple[Tokens, ...]


@dataclass(slots=True, eq=False)
class ScoreTask:
    """A job under way: the context is read once, then what each target adds to it.

    Attributes:
        job: What is asked.
        readings: One with the longest target, and one for every other target of several tokens.
    """

    job: ScoreJob
    readings: list[Reading] = field(default_factory=list)
    _logprobs: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        targets, last = self.job.targets, len(self.job.context) - 1
        self._logprobs = [[] for _ in targets]
        longest = max(range(len(targets)), key=lambda place: len(targets[place]))
        self.readings.append(self._reading(longest, last))
        for place, target in enumerate(targets):
            if place != longest and len(target) > 1:
                self.readings.append(self._reading(place, last + 1))

    def result(self) -> list[list[float]]:
        """Return the token log-probs (nats) of every target."""
        return self._logprobs

    def _reading(self, place: int, first_wanted: int) -> Reading:
        """Return a sequence of the context and all tokens but the last of a target."""
        tokens = np.concatenate([self.job.context, self.job.targets[place][:-1]])
        return Reading(tokens, first_wanted, self._reader(place))

    def _reader(self, place: int) -> Read:
        """Return what notes the log-probs of a target, and the first ones of all of them."""

        def read(position: int, expected: Distribution) -> None:
            following = position + 1 - len(self.job.context)
            if following:
                target = self.job.targets[place]
                self._logprobs[place].append(expected.logprob(target[following]))
            else:
                for target, logprobs in zip(self.job.targets, self._logprobs, strict=True):
                    logprobs.insert(0, expected.logprob(target[0]))

        return read
