"""Limits of requests and tokens a minute, told as OpenAI tells them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0


class Window:
    """An amount that may be spent in any minute."""

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._spent: deque[tuple[float, float]] = deque()
        self._total = 0.0

    @property
    def left(self) -> float:
        """What may still be spent now."""
        self._forget()
        return max(0.0, self.limit - self._total)

    @property
    def reset_s(self) -> float:
        """Seconds until all that was spent is forgotten."""
        self._forget()
        return self._spent[-1][0] + WINDOW_S - self._clock() if self._spent else 0.0

    def spend(self, amount: float) -> None:
        """Note what is spent now."""
        self._spent.append((self._clock(), amount))
        self._total += amount

    def wait_s(self, amount: float) -> float:
        """Seconds until an amount may be spent; one that never may has to wait for a minute."""
        self._forget()
        if self._total + amount <= self.limit:
            return 0.0
        excess = self._total + amount - self.limit
        for at, spent in self._spent:
            excess -= spent
            if excess <= 0:
                return at + WINDOW_S - self._clock()
        return WINDOW_S

    def _forget(self) -> None:
        now = self._clock()
        while self._spent and self._spent[0][0] + WINDOW_S <= now:
            self._total -= self._spent.popleft()[1]


class RateLimits:
    """Requests and tokens a minute; None means no limit."""

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._windows = {
            name: Window(limit, clock) for name, limit in limits.items() if limit is not None
        }

    def wait_s(self, num_tokens: int) -> float:
        """Take a request of so many tokens, or say how long it has to wait; 0 if it was taken."""
        amounts = {"requests": 1, "tokens": num_tokens}
        wait_s = max((w.wait_s(amounts[name]) for name, w in self._windows.items()), default=0.0)
        if wait_s <= 0:
            for name, window in self._windows.items():
                window.spend(amounts[name])
        return wait_s

    def headers(self, wait_s: float = 0.0) -> dict[str, str]:
        """What is left, and after how long; with a wait, for a request that was refused."""
        told: dict[str, str] = {}
        if wait_s > 0:
            told["retry-after"] = str(max(1, math.ceil(wait_s)))
            told["retry-after-ms"] = str(math.ceil(1000 * wait_s))
        for name, window in self._windows.items():
            told[f"x-ratelimit-limit-{name}"] = f"{window.limit:.0f}"
            told[f"x-ratelimit-remaining-{name}"] = f"{math.floor(window.left)}"
            told[f"x-ratelimit-reset-{name}"] = duration(window.reset_s)
        return told


def duration(seconds: float) -> str:
    """Write a time as OpenAI's headers do: ``6m0s``, ``1.5s``, ``20ms``."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    shown = f"{round(rest, 3):g}s"
    return f"{int(minutes)}m{shown}" if minutes else shown
