"""Micro-batching: requests that arrive while a batch runs make up the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

Job = TypeVar("Job")
Answer = TypeVar("Answer")

# Requests sent together arrive within some milliseconds; a batch of one would keep them waiting.
_LINGER_S = 0.01


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Job, Answer]):
    """A job that waits for its answer."""

    job: Job
    done: anyio.Event = field(default_factory=anyio.Event)
    answers: list[Answer] = field(default_factory=list)
    error: Exception | None = None


class MicroBatcher(Generic[Job, Answer]):
    """Collects jobs of concurrent tasks and runs them in batches on one worker thread.

    Args:
        pick: Chooses the next batch: given all waiting jobs, oldest first, returns indices.
        run: Answers a batch; blocking.
    """

    def __init__(
        self,
        pick: Callable[[Sequence[Job]], list[int]],
        run: Callable[[Sequence[Job]], Sequence[Answer]],
    ) -> None:
        self._pick = pick
        self._run = run
        self._waiting: list[_Ticket[Job, Answer]] = []
        self._arrived = anyio.Event()
        self._thread = anyio.CapacityLimiter(1)

    async def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """Return the answers to jobs; a caller that is cancelled takes its waiting jobs with it.

        Raises:
            Exception: What ``run`` raised for a batch that one of the jobs was in.
        """
        tickets: list[_Ticket[Job, Answer]] = [_Ticket(job) for job in jobs]
        self._waiting.extend(tickets)
        self._arrived.set()
        try:
            for ticket in tickets:
                await ticket.done.wait()
                if ticket.error is not None:
                    raise ticket.error
        finally:
            given_up = [ticket for ticket in tickets if not ticket.done.is_set()]
            self._waiting = [ticket for ticket in self._waiting if ticket not in given_up]
        return [answer for ticket in tickets for answer in ticket.answers]

    async def serve(self) -> None:
        """Run batches for as long as the surrounding task group lives."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await self._linger()
            while self._waiting:
                indices = set(self._pick([ticket.job for ticket in self._waiting]))
                batch = [t for i, t in enumerate(self._waiting) if i in indices]
                self._waiting = [t for i, t in enumerate(self._waiting) if i not in indices]
                await self._answer(batch)

    async def _linger(self) -> None:
        """Wait until no more jobs come in at once."""
        seen = 0
        while seen < len(self._waiting):
            seen = len(self._waiting)
            await anyio.sleep(_LINGER_S)

    async def _answer(self, batch: list[_Ticket[Job, Answer]]) -> None:
        """Run one batch and wake those who wait for it."""
        jobs = [ticket.job for ticket in batch]
        try:
            answers = await anyio.to_thread.run_sync(self._run, jobs, limiter=self._thread)
        except (
            Exception
        ) as error:  # Boundary: a batch that fails fails its requests, not the server.
            for ticket in batch:
                ticket.error = error
        else:
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.answers.append(answer)
        for ticket in batch:
            ticket.done.set()
