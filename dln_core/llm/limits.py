"""Staying within what the endpoint allows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from dln_core.config import LimitsConfig, LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.base import (
    GenerateRequest,
    RequestList,
    Response,
    Sendable,
    Sender,
    num_sequences,
)

Sent = TypeVar("Sent", bound=Sendable)

CHARS_PER_TOKEN = 4


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

    def settle(
        self, outcome: Outcome, tokens: int | None, retry_after_s: float | None = None
    ) -> None:
        """Give back what was not used.

        Args:
            outcome: What became of the call.
            tokens: Tokens that it used; None if that is not known.
            retry_after_s: How long an overloaded endpoint asked to wait; None if it did not say.
        """
        ...


class Limiter(Protocol):
    """Grants calls, first come first served; those of one process or those of a cluster."""

    async def acquire(self, cost: Cost) -> Lease:
        """Wait until the limits allow a call."""
        ...


class LimiterSource(Protocol):
    """Where the limiters of endpoints come from; it can be pickled while none is open."""

    def open(self, config: LLMConfig, limits: LimitsConfig) -> AbstractAsyncContextManager[Limiter]:
        """Open the limiter of an endpoint and key.

        Args:
            config: The model, of which the address and the name of the key's variable count.
            limits: What the endpoint allows.
        """
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
        outcome, tokens, retry_after_s = Outcome.failed, None, None
        try:
            response = await self._inner.send(request)
            outcome = Outcome.answered
            # An endpoint that counts no tokens tells nothing about their number.
            tokens = (response.usage.prompt_tokens + response.usage.completion_tokens) or None
            return response
        except TransientError as error:
            if error.is_overload:
                outcome, tokens, retry_after_s = Outcome.overloaded, 0, error.retry_after_s
            elif isinstance(error.__cause__, TimeoutError):
                outcome = Outcome.overloaded
            raise
        finally:
            lease.settle(outcome, tokens, retry_after_s)


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
