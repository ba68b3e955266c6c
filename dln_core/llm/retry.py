"""Trying again what may pass."""

from __future__ import annotations

import random
from typing import Generic

import anyio

from dln_core.errors import TransientError, UnreachableError
from dln_core.llm.base import Asked, Response, Sender

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
# An endpoint may ask for more than we would wait by ourselves: quotas are refilled after minutes.
LONGEST_ASKED_WAITS = 5
# Some proxies ask for one second all through an outage.
NUM_TRUSTED_ATTEMPTS = 3


class Retry(Generic[Asked]):
    """A transport that repeats transient failures, with exponential waits.

    Half of a wait is fixed and half random: ten attempts last at least 90 s, and requests that
    failed together do not come back together.  What the endpoint asks for (Retry-After) goes before
    the exponential wait, up to five minutes; where that did not help three times, the longer of
    both is waited.  Jitter draws from a generator of its own: waits never change results.

    Args:
        inner: Where attempts go.
        max_attempts: How many there are.
        max_faults: How many of them may fail otherwise than by an outage; None means all.
    """

    def __init__(
        self, inner: Sender[Asked], max_attempts: int, max_faults: int | None = None
    ) -> None:
        self._inner = inner
        self._max_attempts = max_attempts
        self._max_faults = max_attempts if max_faults is None else max_faults
        self._jitter = random.Random()

    async def send(self, request: Asked) -> Response:
        """Answer by the inner sender, trying again upon transient failures.

        Raises:
            UnreachableError: If the last attempt failed too.
            LLMError: At once for a lasting failure.
        """
        attempt = num_faults = 0
        while True:
            attempt += 1
            try:
                return await self._inner.send(request)
            except TransientError as error:
                num_faults += not error.is_outage
                if attempt >= self._max_attempts or num_faults >= self._max_faults:
                    raise UnreachableError(
                        f"{error}; gave up after {attempt} attempts: check that the endpoint is "
                        "up, then run the same command again to go on"
                    ) from error
                await anyio.sleep(self._wait_s(attempt, error.retry_after_s))

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
        own_s = self._jitter.uniform(longest / 2, longest)
        if retry_after_s is None:
            return own_s
        asked_s = min(retry_after_s, LONGEST_WAIT_S * LONGEST_ASKED_WAITS)
        asked_s += self._jitter.uniform(0, FIRST_WAIT_S)
        return asked_s if attempt <= NUM_TRUSTED_ATTEMPTS else max(asked_s, own_s)
