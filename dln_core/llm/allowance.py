"""What a unit of work may use: the part of a budget that holds back calls before they are sent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import anyio

from dln_core.errors import BudgetError


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens, prompt and completion, and US dollars."""

    tokens: float = 0.0
    cost_usd: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.cost_usd + other.cost_usd)

    def __sub__(self, other: Amount) -> Amount:
        return self + other.times(-1.0)

    def times(self, factor: float) -> Amount:
        """Return it so many times."""
        return Amount(self.tokens * factor, self.cost_usd * factor)

    def fits(self, free: Amount) -> bool:
        """Tell whether no more of anything is needed than is free; what needs nothing fits."""
        return all(
            needed <= 0 or needed <= left
            for needed, left in ((self.tokens, free.tokens), (self.cost_usd, free.cost_usd))
        )

    def least(self, other: Amount) -> Amount:
        """Return the lesser of each."""
        return Amount(min(self.tokens, other.tokens), min(self.cost_usd, other.cost_usd))


UNBOUNDED = Amount(math.inf, math.inf)


class Allowance:
    """Tokens, money and time for one unit of work.

    A call sets aside what it is expected to take.  One that does not fit waits for those in flight,
    which may take less than they set aside; if none is left it is refused.  So no more is used than
    what the calls in flight take beyond expectation.

    Args:
        bound: What may be used.
        seconds: For how long from now calls may be begun.
    """

    def __init__(self, bound: Amount, seconds: float = math.inf) -> None:
        self._free = bound
        self._end_s = time.monotonic() + seconds
        self._num_in_flight = 0
        self._settled = anyio.Event()

    async def reserve(self, expected: Amount) -> None:
        """Set aside what a call is expected to take, once it fits.

        Raises:
            BudgetError: If it does not fit though no other call is in flight.
        """
        while time.monotonic() >= self._end_s or not expected.fits(self._free):
            if self._num_in_flight == 0:
                raise BudgetError("what the budget leaves for this step is used up")
            await self._settled.wait()
        self._num_in_flight += 1
        self._free -= expected

    def settle(self, expected: Amount, used: Amount) -> None:
        """Take back what a call set aside, and count what it used."""
        self._num_in_flight -= 1
        self._free += expected - used
        settled, self._settled = self._settled, anyio.Event()
        settled.set()
