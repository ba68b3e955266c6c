"""The client's side: what one process starts under what the limiter allots to it."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from itertools import islice

import anyio

from dln_core.config import LimitsConfig
from dln_core.errors import ClusterError
from dln_core.llm.limits import Cost, Lease, Outcome
from dln_core.llm.local_limiter import UsedShare
from orchestrator.limiter.messages import (
    HEARTBEAT_S,
    LEASE_S,
    POLL_S,
    Allotment,
    Ask,
    Ended,
    Report,
    strictest,
)

# More calls than that are never granted at once.
MOST_ASKS = 64
RECONNECT_S = 0.5

Exchange = Callable[[Report], Awaitable[Allotment]]


class LimiterAwayError(ClusterError):
    """The limiter of an endpoint cannot be reached now."""


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits, or is under way."""

    cost: Cost
    num_texts: int
    ready: anyio.Event = field(default_factory=anyio.Event)
    tokens: float = 0.0
    lease: _ClusterLease | None = None


@dataclass(slots=True)
class _News:
    """What has happened since the last report; ``ended_at`` comes last in the tuples."""

    num_started: int = 0
    answered: list[tuple[int, float, float]] = field(default_factory=list)
    overloaded: list[tuple[int, float, float]] = field(default_factory=list)
    tokens_over: float = 0.0
    calls_over: int = 0
    paused_until: float = -math.inf


class ClusterLimiter:
    """Limits of an endpoint that all processes of a cluster keep together.

    Calls are granted in order of arrival.  Where no rate is kept, texts that are over make room for
    those that wait without any word to the limiter, as many as it allotted.  While the limiter is
    out of reach calls wait.

    Args:
        exchange: Hands a report to the limiter; raises LimiterAwayError.
        limits: What the endpoint allows.

    Attributes:
        num_in_flight: Texts in flight.
        num_overloads: Calls so far for which the endpoint had too much to do.
    """

    def __init__(self, exchange: Exchange, limits: LimitsConfig) -> None:
        self.num_in_flight = 0
        self.num_overloads = 0
        self._exchange = exchange
        self._limits = limits
        self._name = uuid.uuid4().hex
        self._waiting: deque[_Call] = deque()
        self._used: dict[Hashable, UsedShare] = {}
        self._num_held = 0
        self._held_until = self._paused_until = self._silent_until = -math.inf
        self._news = _News()
        self._wake = anyio.Event()

    def restrict(self, limits: LimitsConfig) -> None:
        """Keep these limits too."""
        self._limits = strictest([self._limits, limits])

    async def acquire(self, cost: Cost) -> Lease:
        """Wait until the limits allow a call."""
        cap = self._limits.max_concurrency
        call = _Call(cost, min(cost.num_texts, cap or cost.num_texts))
        if not self._waiting and self._may_start(call):
            return self._start(call)
        self._waiting.append(call)
        self._wake.set()
        try:
            await call.ready.wait()
        except anyio.get_cancelled_exc_class():
            if call.lease is None:
                self._waiting.remove(call)
                self._start_waiting()
            else:
                self._news.calls_over -= cost.num_calls
                call.lease.settle(Outcome.failed, 0)
            raise
        assert call.lease is not None
        return call.lease

    async def run(self) -> None:
        """Report to the limiter whenever there is reason to; endless."""
        while True:
            with anyio.move_on_after(self._rest_s()):
                await self._wake.wait()
            await anyio.sleep_until(self._silent_until)
            self._wake = anyio.Event()
            try:
                await self._report()
            except LimiterAwayError:
                # What was told is lost; what is in flight is told again.
                self._silent_until = anyio.current_time() + RECONNECT_S

    async def leave(self) -> None:
        """Tell the limiter that nothing more will come; if it is away, it finds out by itself."""
        try:
            await self._exchange(self._written((), leaves=True))
        except LimiterAwayError:
            return

    def settle(
        self, lease: _ClusterLease, outcome: Outcome, tokens: int | None, pause_s: float | None
    ) -> None:
        """Note the end of a call; called by the lease."""
        call, now = lease.call, anyio.current_time()
        self.num_in_flight -= call.num_texts
        ended = (call.num_texts, now - lease.sent_at, now)
        if outcome is Outcome.answered:
            self._news.answered.append(ended)
        elif outcome is Outcome.overloaded:
            self._news.overloaded.append(ended)
            self.num_overloads += 1
            self._news.paused_until = max(self._news.paused_until, now + (pause_s or 0.0))
            self._paused_until = max(self._paused_until, self._news.paused_until)
        if tokens is not None:
            self._news.tokens_over += tokens - call.tokens
            if outcome is Outcome.answered:
                self._used_share(call.cost).learn(call.cost.tokens, tokens)
        self._start_waiting()
        if self._waiting or not self.num_in_flight or outcome is Outcome.overloaded:
            self._wake.set()

    def _may_start(self, call: _Call) -> bool:
        now = anyio.current_time()
        has_room = self.num_in_flight + call.num_texts <= self._num_held
        return has_room and self._paused_until <= now < self._held_until

    def _start(self, call: _Call) -> Lease:
        self.num_in_flight += call.num_texts
        self._news.num_started += call.num_texts
        call.lease = _ClusterLease(self, call, anyio.current_time())
        return call.lease

    def _start_waiting(self) -> None:
        while self._waiting and self._may_start(self._waiting[0]):
            self._begin(self._waiting.popleft())

    def _begin(self, call: _Call) -> None:
        self._start(call)
        call.ready.set()

    def _rest_s(self) -> float:
        if self._waiting:
            return POLL_S
        return HEARTBEAT_S if self.num_in_flight or self._num_held else math.inf

    async def _report(self) -> None:
        asked = list(islice(self._waiting, MOST_ASKS))
        for call in asked:
            call.tokens = call.cost.tokens * self._used_share(call.cost).value
        asks = tuple(Ask(call.num_texts, call.cost.num_calls, call.tokens) for call in asked)
        sent_at = anyio.current_time()
        if sent_at >= self._held_until or not (asked or self.num_in_flight):
            self._num_held = 0
        allotment = await self._exchange(self._written(asks))
        now = anyio.current_time()
        self._num_held, self._held_until = allotment.num_held, sent_at + LEASE_S
        self._paused_until = max(self._paused_until, now + allotment.pause_s)
        self._silent_until = now + allotment.again_s
        for call in asked[: allotment.num_granted]:
            if call in self._waiting:
                self._waiting.remove(call)
                self._begin(call)
            else:  # it was cancelled meanwhile
                self._news.calls_over -= call.cost.num_calls
                self._news.tokens_over -= call.tokens
        self._start_waiting()

    def _written(self, asks: tuple[Ask, ...], *, leaves: bool = False) -> Report:
        news, self._news = self._news, _News()
        now = anyio.current_time()

        def ended(calls: list[tuple[int, float, float]]) -> tuple[Ended, ...]:
            return tuple(Ended(texts, took_s, now - at) for texts, took_s, at in calls)

        return Report(
            client=self._name,
            limits=self._limits,
            num_in_flight=self.num_in_flight,
            num_held=self._num_held,
            num_started=news.num_started,
            asks=asks,
            answered=ended(news.answered),
            overloaded=ended(news.overloaded),
            tokens_over=news.tokens_over,
            calls_over=news.calls_over,
            pause_s=max(0.0, news.paused_until - now),
            leaves=leaves,
        )

    def _used_share(self, cost: Cost) -> UsedShare:
        return self._used.setdefault(cost.kind, UsedShare())


@dataclass(frozen=True, slots=True)
class _ClusterLease:
    limiter: ClusterLimiter
    call: _Call
    sent_at: float

    def settle(
        self, outcome: Outcome, tokens: int | None, retry_after_s: float | None = None
    ) -> None:
        self.limiter.settle(self, outcome, tokens, retry_after_s)
