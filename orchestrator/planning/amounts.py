"""What a plan speaks of: calls, tokens, money and time, as ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.planning.call_costs import Cost

FIGURES = ("calls", "tokens", "cost_usd", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What is used in all.

    Attributes:
        cost: Calls and tokens.
        cost_usd: Money; None where a price is not known.
        seconds: Time by the clock; None where nothing is known of the endpoint's speed.
    """

    cost: Cost = field(default_factory=Cost)
    cost_usd: float | None = 0.0
    seconds: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return the amounts as plain JSON values."""
        return {
            "calls": round(self.cost.calls),
            "tokens": round(self.cost.tokens),
            "prompt_tokens": round(self.cost.prompt_tokens),
            "completion_tokens": round(self.cost.completion_tokens),
            "cost_usd": None if self.cost_usd is None else round(self.cost_usd, 4),
            "seconds": None if self.seconds is None else round(self.seconds),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a trial or a whole plan is expected to use, with its range.

    Attributes:
        forward: What the model of the layers is asked for.
        backward: What the model that samples hidden texts and proposes prompts is asked for.
        judging: What the model that judges is asked for, where one does.
        cost_usd: Money; None where a price is not known.
        seconds: Time by the clock; None where nothing is known of the endpoint's speed.
        low: The least that is likely.
        high: The most.
        num_past: Past trials that the figures rest on; 0 for those that rest on the formula alone.
        time_basis: What the time rests on: ``past`` trials, ``limits`` or the ``local`` model's
            speed; None where it is not known.
    """

    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)
    judging: Cost = field(default_factory=Cost)
    cost_usd: float | None = 0.0
    seconds: float | None = None
    low: Amounts = field(default_factory=Amounts)
    high: Amounts = field(default_factory=Amounts)
    num_past: int = 0
    time_basis: str | None = None

    @property
    def total(self) -> Cost:
        """All models together."""
        return self.forward + self.backward + self.judging

    @property
    def expected(self) -> Amounts:
        """What is expected in all."""
        return Amounts(cost=self.total, cost_usd=self.cost_usd, seconds=self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain JSON values, with its range under ``low`` and ``high``."""
        ends = {"low": self.low.to_dict(), "high": self.high.to_dict()}
        basis = {"num_past_trials": self.num_past, "time_basis": self.time_basis}
        return {**self.expected.to_dict(), **ends, **basis}


def total_amounts(parts: Iterable[Amounts]) -> Amounts:
    """Add up calls, tokens and money; one unknown price makes the money unknown."""
    listed = list(parts)
    return Amounts(
        cost=sum((part.cost for part in listed), Cost()),
        cost_usd=known_sum(part.cost_usd for part in listed),
    )


def known_sum(values: Iterable[float | None]) -> float | None:
    """Add values up; None if any is not known."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return sum(known) if len(known) == len(listed) else None
