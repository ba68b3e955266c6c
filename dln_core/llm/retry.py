"""Trying again what may pass."""

from __future__ import annotations

import random

import anyio

from dln_core.errors import TransientError, UnreachableError
from dln_core.llm.base import LanguageModel, Request, Response

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0


class Retry:
    """A transport that repeats transient failures, with exponential waits and full jitter.

    What the endpoint asks for (Retry-After) goes before the exponential wait.  Jitter draws from
    a generator of its own: waits never change results.
    """

    def __init__(self, inner: LanguageModel, max_attempts: int) -> None:
        self._inner = inner
        self._max_attempts = max_attempts
        self._jitter = random.Random()

    async def send(self, request: Request) -> Response:
        """Answer by the inner model, trying again upon transient failures.

        Raises:
            UnreachableError: If the last attempt failed too.
            LLMError: At once for a lasting failure.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._inner.send(request)
            except TransientError as error:
                if attempt >= self._max_attempts:
                    raise UnreachableError(
                        f"{error}; gave up after {attempt} attempts: check that the endpoint is "
                        "up, then run the same command again to go on"
                    ) from error
                await anyio.sleep(self._wait_s(attempt, error.retry_after_s))

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return min(retry_after_s, LONGEST_WAIT_S) + self._jitter.uniform(0, FIRST_WAIT_S)
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
        return self._jitter.uniform(FIRST_WAIT_S / 2, longest)
