"""Room for so many sequences at once, as an endpoint's batch has it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import anyio

KEPT_SPANS = 250_000


class Slots:
    """Sequences occupy a slot each for a time; they are served in order of arrival.

    Args:
        count: Slots that there are; None for as many as are wanted.
        latency_s: Time to the first token, in seconds.
        seconds_per_token: Time of each token generated.

    Attributes:
        num_sequences: Sequences that were served.
        spans: When the last of them began and ended, in seconds of the monotonic clock.
    """

    def __init__(
        self, count: int | None = None, latency_s: float = 0.0, seconds_per_token: float = 0.0
    ) -> None:
        self._room = None if count is None else anyio.Semaphore(count)
        self._latency_s = latency_s
        self._seconds_per_token = seconds_per_token
        self.num_sequences = 0
        self.spans: deque[tuple[float, float]] = deque(maxlen=KEPT_SPANS)

    async def run(self, num_tokens: Sequence[int]) -> None:
        """Serve sequences that generate so many tokens each; return when the last is done."""
        if len(num_tokens) == 1:
            await self._run_one(num_tokens[0])
            return
        async with anyio.create_task_group() as group:
            for count in num_tokens:
                group.start_soon(self._run_one, count)

    async def _run_one(self, num_tokens: int) -> None:
        if self._room is None:
            await self._occupy(num_tokens)
            return
        async with self._room:
            await self._occupy(num_tokens)

    async def _occupy(self, num_tokens: int) -> None:
        began = time.monotonic()
        await anyio.sleep(self._latency_s + self._seconds_per_token * num_tokens)
        self.num_sequences += 1
        self.spans.append((began, time.monotonic()))
