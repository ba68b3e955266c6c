"""A rate that is kept by waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

MINUTE_S = 60.0
BURST_S = 1.0


def _now() -> float:
    return time.monotonic()


class Bucket:
    """A token bucket that keeps at most one second's worth.

    Its rate is such that a burst and a minute's flow together stay within the allowance, so that no
    minute, wherever it begins, has more than ``per_minute`` units (but for a single amount larger
    than a burst, which is paid back afterwards).

    Args:
        per_minute: The allowance.
        clock: Tells the time in seconds.

    Attributes:
        burst: The most that it holds.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = _now) -> None:
        self._rate_per_s = per_minute / (MINUTE_S + BURST_S)
        self.burst = max(1.0, self._rate_per_s * BURST_S)
        self._clock = clock
        self._level = 0.0
        self._filled_at = clock()

    @property
    def level(self) -> float:
        """What it holds now; negative while a debt is paid back."""
        now = self._clock()
        inflow = (now - self._filled_at) * self._rate_per_s
        self._level, self._filled_at = min(self.burst, self._level + inflow), now
        return self._level

    def wait_s(self, amount: float) -> float:
        """Seconds until the amount, or a burst if that is less, is there."""
        return max(0.0, (min(amount, self.burst) - self.level) / self._rate_per_s)

    def take(self, amount: float) -> None:
        """Take an amount, into debt if need be; a negative one is given back."""
        self._level -= amount
