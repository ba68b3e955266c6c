"""The accounts of a budget: what is used and set aside, for the whole sweep and for each trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dln_core.llm.allowance import Amount
from orchestrator.planning.parts import Parts
from orchestrator.settings.schema import BoundsConfig
from orchestrator.summary import Taken, tokens_of

# How much more than expected a unit of work may take before it is given up.
ROOM = 2.0

NOTHING = Amount()
_LEAST = Amount(tokens=1.0, cost_usd=1e-4)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The bound that leaves nothing, as it is set."""

    bound: str
    value: float

    def __str__(self) -> str:
        return f"{self.bound}={self.value:g}"


class Scope:
    """One set of bounds: what is used of it, and what is set aside."""

    def __init__(self, name: str, config: BoundsConfig) -> None:
        self._name = name
        self._bounds = config.bounds()
        self._bound = Amount(
            self._bounds.get("max_tokens", math.inf), self._bounds.get("max_cost_usd", math.inf)
        )
        self.max_seconds = self._bounds.get("max_seconds", math.inf)
        self.used = Amount()
        self.set_aside = Amount()

    @property
    def free(self) -> Amount:
        """What is neither used nor set aside."""
        return self._bound - self.used - self.set_aside

    def lacking(self, needed: Amount, seconds_left: float) -> Exhausted | None:
        """The first bound that does not leave what is needed."""
        free = self.free
        is_short = {
            "max_tokens": needed.tokens > free.tokens,
            "max_cost_usd": needed.cost_usd > free.cost_usd,
            "max_seconds": seconds_left <= 0.0,
        }
        short = [name for name in self._bounds if is_short[name]]
        return Exhausted(f"{self._name}.{short[0]}", self._bounds[short[0]]) if short else None


@dataclass(frozen=True, slots=True)
class Needs:
    """What the missing reference points of a task take: ``expected`` of each, by name."""

    expected: Mapping[str, Amount]

    def of(self, names: Iterable[str]) -> Amount:
        """What the named ones are expected to take together."""
        return sum((self.expected[name] for name in names), Amount())


@dataclass(slots=True)
class Account:
    """One trial's share: its own bounds, what it has set aside, and what its parts take.

    Attributes:
        scope: Its own bounds.
        parts: What its parts are expected to take.
        is_trained: Whether it has steps, after which another validation may be due.
        seconds: Time of its recorded work.
        has_begun: Whether its first validation is done.
        has_stepped: Whether a step has followed, whose network may not be validated.
        has_ended: Whether its test is done, so that it only goes on if another step fits.
        beside: What is to be left for whoever comes after it.
        set_aside: What nobody else may use.
        step_s: Seconds that a step is expected to take.
        test_s: The same of its test.
    """

    scope: Scope
    parts: Parts
    is_trained: bool
    seconds: float = 0.0
    has_begun: bool = False
    has_stepped: bool = False
    has_ended: bool = False
    beside: Amount = field(default_factory=Amount)
    set_aside: Amount = field(default_factory=Amount)
    step_s: float = 0.0
    test_s: float = 0.0

    @property
    def ending(self) -> Amount:
        """What it is expected to take to bring the trial to its end without another step."""
        parts = self.parts
        is_validated = self.has_begun and not self.has_stepped
        return parts.test + parts.longest + (NOTHING if is_validated else parts.validation)

    @property
    def reserve(self) -> Amount:
        """What it takes at most to bring the trial to its end, another step or not."""
        parts = self.parts
        is_tested_alone = self.has_begun and not self.is_trained
        evaluated = parts.test if is_tested_alone else parts.test + parts.validation
        return evaluated.times(parts.growth) + parts.longest

    @property
    def needed(self) -> Amount:
        """What must be free for the trial to be taken up."""
        if self.has_ended:
            return self.reserve + self.parts.step
        # Whatever was set aside when it began may be less by now.
        return self.ending if self.has_begun else self.reserve + self.beside

    def learn(self, kind: str, taken: Taken) -> None:
        """Take what a part took for what the next ones will take."""
        parts = self.parts
        match kind:
            case "start":
                self.has_begun = True
                ratio = _ratio(parts.test, parts.validation)
                self.test_s = taken.seconds * ratio
                validation = _like(parts.validation, taken.tokens)
                self.parts = replace(parts, validation=validation, test=validation.times(ratio))
            case "step":
                self.has_stepped = True
                self.step_s = taken.seconds
                self.parts = replace(parts, step=_like(parts.step, taken.tokens))

    def gave_up(self, work: str) -> None:
        """Expect more of a unit of work that did not end with what it had."""
        parts = self.parts
        if work == "step":
            self.parts = replace(parts, step=_more(parts.step))
        else:
            validation, test = _more(parts.validation), _more(parts.test)
            self.parts = replace(parts, validation=validation, test=test)


def _ratio(numerator: Amount, denominator: Amount) -> float:
    return numerator.tokens / denominator.tokens if denominator.tokens else 1.0


def _more(expected: Amount) -> Amount:
    """More, also where nothing was expected: else it would be tried again without end."""
    return Amount(
        max(expected.tokens, _LEAST.tokens), max(expected.cost_usd, _LEAST.cost_usd)
    ).times(ROOM)


def _like(expected: Amount, tokens: float) -> Amount:
    """So many tokens at the expected price: what came from a store may cost money next time."""
    if not tokens:  # not every endpoint counts them
        return expected
    return expected.times(tokens / expected.tokens) if expected.tokens else Amount(tokens)


def amount_of(event: Mapping[str, Any]) -> Amount:
    """What an event, or a row of reference points, says that was used."""
    return Amount(tokens_of(event), event["cost_usd"] or 0.0)
