"""Staying within what the endpoint allows, inside one process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import anyio

from dln_core.config import LimitsConfig
from dln_core.llm.base import GenerateRequest, LanguageModel, Request, Response

CHARS_PER_TOKEN = 4
BURST_S = 1.0


class Bucket:
    """A token bucket: ``rate_per_minute`` units flow in, at most one second's worth is kept."""

    def __init__(self, rate_per_minute: float) -> None:
        self._rate_per_s = rate_per_minute / 60.0
        self._level = 0.0
        self._filled_at = time.monotonic()
        self._turn = anyio.Lock()

    async def take(self, amount: float) -> None:
        """Wait for the amount, in order of arrival; more than a burst goes into debt."""
        async with self._turn:
            burst = max(1.0, self._rate_per_s * BURST_S)
            needed = min(amount, burst)
            missing = needed - self._fill(burst)
            while missing > 0:
                await anyio.sleep(missing / self._rate_per_s)
                missing = needed - self._fill(burst)
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Return what was taken too much; a negative amount takes what was too little."""
        self._level += amount

    def _fill(self, burst: float) -> float:
        now = time.monotonic()
        self._level = min(burst, self._level + (now - self._filled_at) * self._rate_per_s)
        self._filled_at = now
        return self._level


def estimate_tokens(request: Request) -> int:
    """Tokens that a request may use, before it is sent: four characters a token."""
    num_chars = sum(len(message.text) for message in request.messages)
    if isinstance(request, GenerateRequest):
        return num_chars // CHARS_PER_TOKEN + request.max_tokens
    # Endpoints without a scoring route are sent the context once a target.
    target_chars = sum(len(target) for target in request.targets)
    return (num_chars * len(request.targets) + target_chars) // CHARS_PER_TOKEN


class Limits:
    """A transport that holds every attempt until the endpoint's limits allow it.

    Args:
        inner: Where attempts go.
        config: The limits of the endpoint.
        share: Number of processes that divide the limits among them.
    """

    def __init__(self, inner: LanguageModel, config: LimitsConfig, share: int = 1) -> None:
        self._inner = inner
        slots = config.max_concurrency
        self._slots = anyio.Semaphore(max(1, slots // share)) if slots else None
        self._requests = _bucket(config.requests_per_minute, share)
        self._tokens = _bucket(config.tokens_per_minute, share)

    async def send(self, request: Request) -> Response:
        """Answer by the inner model once the limits allow it."""
        estimate = estimate_tokens(request)
        # Buckets first: nobody holds a slot while waiting for the rate.
        if self._requests:
            await self._requests.take(1)
        if self._tokens:
            await self._tokens.take(estimate)
        async with self._slot():
            response = await self._inner.send(request)
        if self._tokens:
            used = response.usage.prompt_tokens + response.usage.completion_tokens
            self._tokens.give_back(estimate - used)
        return response

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._slots is None:
            yield
        else:
            async with self._slots:
                yield


def _bucket(rate_per_minute: float | None, share: int) -> Bucket | None:
    return None if rate_per_minute is None else Bucket(rate_per_minute / share)
