"""Limits that one process keeps by itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from dln_core.config import LimitsConfig, LLMConfig
from dln_core.llm.adaptive import AdaptiveConcurrency
from dln_core.llm.buckets import Bucket
from dln_core.llm.limits import Cost, Lease, Limiter, Outcome

# What each new call of a kind leaves of what was learned before: about fifty calls count.
REMEMBERED = 0.98


class LocalLimiters:
    """Every connection keeps the limits by itself."""

    @asynccontextmanager
    async def open(self, config: LLMConfig, limits: LimitsConfig) -> AsyncIterator[Limiter]:
        """Open a limiter of its own."""
        yield LocalLimiter(limits)


class LocalLimiter:
    """Limits of one process.

    All that a call takes is granted at once, in order of arrival, so nobody holds one limit while
    waiting for another, and a large call is not passed by small ones for ever.

    Args:
        config: The limits of the endpoint.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self._cap = config.max_concurrency
        self._concurrency = AdaptiveConcurrency(self._cap)
        self._requests = _bucket(config.requests_per_minute)
        self._tokens = _bucket(config.tokens_per_minute)
        self._used: dict[Hashable, UsedShare] = {}
        self._num_in_flight = 0
        self._turn = anyio.Lock()
        self._settled = anyio.Event()

    async def acquire(self, cost: Cost) -> Lease:
        """Wait until the limits allow a call."""
        # Who waits at the head of the queue has the turn.
        lease = None if self._turn.locked() else self._grant(cost)
        if lease is not None:
            return lease
        async with self._turn:
            while (lease := self._grant(cost)) is None:
                await self._change(cost)
            return lease

    def settle(self, lease: _LocalLease, outcome: Outcome, tokens: int | None) -> None:
        """Take back what a lease did not use; called by the lease."""
        self._num_in_flight -= lease.num_texts
        settled, self._settled = self._settled, anyio.Event()
        settled.set()
        now = time.monotonic()
        if outcome is Outcome.answered:
            self._concurrency.answer(lease.num_texts, lease.sent_at, now)
        elif outcome is Outcome.overloaded:
            self._concurrency.overload(lease.sent_at, now)
        if tokens is None:
            return
        if self._tokens:
            self._tokens.take(tokens - lease.tokens)
        if outcome is Outcome.answered:
            self._used[lease.cost.kind].learn(lease.cost.tokens, tokens)

    def _grant(self, cost: Cost) -> _LocalLease | None:
        if not self._has_room(cost) or self._wait_s(cost) > 0:
            return None
        lease = _LocalLease(
            self, cost, self._num_texts(cost), self._expected(cost), time.monotonic()
        )
        self._num_in_flight += lease.num_texts
        if self._requests:
            self._requests.take(cost.num_calls)
        if self._tokens:
            self._tokens.take(lease.tokens)
        return lease

    async def _change(self, cost: Cost) -> None:
        """Wait for what a call lacks; there may be another lack afterwards."""
        if self._has_room(cost):
            await anyio.sleep(self._wait_s(cost))
        else:
            self._concurrency.hold_up()
            await self._settled.wait()

    def _has_room(self, cost: Cost) -> bool:
        num_texts = self._num_in_flight + self._num_texts(cost)
        return not self._num_in_flight or num_texts <= self._concurrency.limit

    def _wait_s(self, cost: Cost) -> float:
        requests_s = self._requests.wait_s(cost.num_calls) if self._requests else 0.0
        tokens_s = self._tokens.wait_s(self._expected(cost)) if self._tokens else 0.0
        return max(requests_s, tokens_s)

    def _num_texts(self, cost: Cost) -> int:
        # What exceeds the cap by itself has to go some time: alone.
        return min(cost.num_texts, self._cap or cost.num_texts)

    def _expected(self, cost: Cost) -> float:
        return cost.tokens * self._used.setdefault(cost.kind, UsedShare()).value


@dataclass(frozen=True, slots=True)
class _LocalLease:
    limiter: LocalLimiter
    cost: Cost
    num_texts: int
    tokens: float
    sent_at: float

    def settle(
        self, outcome: Outcome, tokens: int | None, retry_after_s: float | None = None
    ) -> None:
        # Within one process whoever was refused waits for itself.
        self.limiter.settle(self, outcome, tokens)


class UsedShare:
    """Tokens that calls of one kind used, by tokens that were estimated."""

    def __init__(self) -> None:
        self._estimated = self._used = 0.0

    @property
    def value(self) -> float:
        """The share; 1 before the first call."""
        return self._used / self._estimated if self._estimated else 1.0

    def learn(self, estimated: float, used: float) -> None:
        """Note a call."""
        self._estimated = REMEMBERED * self._estimated + estimated
        self._used = REMEMBERED * self._used + used


def _bucket(per_minute: float | None) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute)
