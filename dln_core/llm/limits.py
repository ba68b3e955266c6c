"""Staying within what the endpoint allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import anyio

from dln_core.config import LimitsConfig
from dln_core.errors import TransientError
from dln_core.llm.adaptive import START, AdaptiveConcurrency
from dln_core.llm.base import (
    GenerateRequest,
    RequestList,
    Response,
    Sendable,
    Sender,
    num_sequences,
)
from dln_core.llm.buckets import Bucket

Sent = TypeVar("Sent", bound=Sendable)

CHARS_PER_TOKEN = 4
# What each new call of a kind leaves of what was learned before: about fifty calls count.
REMEMBERED = 0.98


class Outcome(StrEnum):
    """What became of a call."""

    answered = "answered"
    overloaded = "overloaded"
    failed = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one attempt is expected to take of the limits.

    Attributes:
        kind: Attempts of the same kind use similar shares of their estimated tokens.
        num_calls: HTTP calls that it consists of.
        num_texts: Texts that are in flight with it.
        tokens: Estimated tokens, prompt and completion.
    """

    kind: Hashable
    num_calls: int
    num_texts: int
    tokens: int


class Lease(Protocol):
    """The right to make one call; whoever holds it settles it once the call is over."""

    def settle(self, outcome: Outcome, tokens: int | None) -> None:
        """Give back what was not used.

        Args:
            outcome: What became of the call.
            tokens: Tokens that it used; None if that is not known.
        """
        ...


class Limiter(Protocol):
    """Grants calls, first come first served; those of one process or those of a cluster."""

    async def acquire(self, cost: Cost) -> Lease:
        """Wait until the limits allow a call."""
        ...


class Limits(Generic[Sent]):
    """A transport that holds every attempt until the endpoint's limits allow it.

    Args:
        inner: Where attempts go.
        limiter: Grants them.
        num_calls: How many HTTP calls an attempt consists of; by default each is one.
    """

    def __init__(
        self,
        inner: Sender[Sent],
        limiter: Limiter,
        num_calls: Callable[[Sent], int] = lambda request: 1,
    ) -> None:
        self._inner = inner
        self._limiter = limiter
        self._num_calls = num_calls

    async def send(self, request: Sent) -> Response:
        """Answer by the inner sender once the limits allow it.

        Raises:
            LLMError: If the attempt failed.
        """
        lease = await self._limiter.acquire(_cost(request, self._num_calls(request)))
        outcome, tokens = Outcome.failed, None
        try:
            response = await self._inner.send(request)
            outcome = Outcome.answered
            # An endpoint that counts no tokens tells nothing about their number.
            tokens = (response.usage.prompt_tokens + response.usage.completion_tokens) or None
            return response
        except TransientError as error:
            if error.is_overload:
                outcome, tokens = Outcome.overloaded, 0
            elif isinstance(error.__cause__, TimeoutError):
                outcome = Outcome.overloaded
            raise
        finally:
            lease.settle(outcome, tokens)


class LocalLimiter:
    """Limits of one process.

    All that a call takes is granted at once, in order of arrival, so nobody holds one limit while
    waiting for another, and a large call is not passed by small ones for ever.

    Args:
        config: The limits of the endpoint.
        share: Number of processes that divide the limits among them.  Each may have at least one
            text in flight, so more processes than ``max_concurrency`` have as many as they are.

    Attributes:
        cap: Texts that this process may have in flight; None for no limit.
    """

    def __init__(self, config: LimitsConfig, share: int = 1) -> None:
        cap = config.max_concurrency
        self.cap = max(1, cap // share) if cap else None
        self._concurrency = AdaptiveConcurrency(self.cap, max(1, START // share))
        self._requests = _bucket(config.requests_per_minute, share)
        self._tokens = _bucket(config.tokens_per_minute, share)
        self._used: dict[Hashable, _Ratio] = {}
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
        return min(cost.num_texts, self.cap or cost.num_texts)

    def _expected(self, cost: Cost) -> float:
        return cost.tokens * self._used.setdefault(cost.kind, _Ratio()).value


@dataclass(frozen=True, slots=True)
class _LocalLease:
    limiter: LocalLimiter
    cost: Cost
    num_texts: int
    tokens: float
    sent_at: float

    def settle(self, outcome: Outcome, tokens: int | None) -> None:
        self.limiter.settle(self, outcome, tokens)


class _Ratio:
    """Tokens that calls of one kind used, by tokens that were estimated."""

    def __init__(self) -> None:
        self._estimated = self._used = 0.0

    @property
    def value(self) -> float:
        return self._used / self._estimated if self._estimated else 1.0

    def learn(self, estimated: float, used: float) -> None:
        self._estimated = REMEMBERED * self._estimated + estimated
        self._used = REMEMBERED * self._used + used


def estimate_tokens(request: Sendable) -> int:
    """Tokens that a request may use, before it is sent: four characters a token."""
    if isinstance(request, RequestList):
        return sum(estimate_tokens(one) for one in request.requests)
    num_chars = sum(len(message.text) for message in request.messages)
    if isinstance(request, GenerateRequest):
        return num_chars // CHARS_PER_TOKEN + request.max_tokens
    # Endpoints without a scoring route are sent the context once a target.
    target_chars = sum(len(target) for target in request.targets)
    return (num_chars * len(request.targets) + target_chars) // CHARS_PER_TOKEN


def _cost(request: Sendable, num_calls: int) -> Cost:
    one = request.requests[0] if isinstance(request, RequestList) else request
    return Cost(
        kind=(type(one), one.role),
        num_calls=num_calls,
        num_texts=num_sequences(request),
        tokens=estimate_tokens(request),
    )


def _bucket(per_minute: float | None, share: int) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / share)
