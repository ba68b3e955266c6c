"""The one thread that runs the engine, for tasks of an event loop that come and go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from dln_core.llm.local.scheduler import Reading, Scheduler, Task

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Ticket:
    """Tasks whose caller waits."""

    tasks: Sequence[Task[Any]]
    left: set[Reading]
    is_followed: bool = False
    answers: list[Any] = field(default_factory=list)
    error: Exception | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def is_done(self) -> bool:
        return not self.left or self.error is not None

    def settle(self, done: set[Reading], error: Exception | None) -> None:
        """Take in what a step brought; the thread does not run meanwhile."""
        self.left -= done
        self.error = error
        if self.is_followed:
            self.answers = [task.result() for task in self.tasks]
        if self.is_followed or self.is_done:
            self.changed.set()


class Worker:
    """Shares a scheduler among concurrent callers; a call that is cancelled frees its memory.

    Args:
        scheduler: Used by nobody else while ``serve`` runs.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._tickets: list[_Ticket] = []
        # What happens during a step is told to the scheduler after it.
        self._new: list[Reading] = []
        self._gone: list[Reading] = []
        self._arrived = anyio.Event()
        self._thread = anyio.CapacityLimiter(1)

    async def run(self, tasks: Sequence[Task[Answer]]) -> list[Answer]:
        """Return the answers to tasks.

        Raises:
            Exception: What ended a step while they were under way.
        """
        ticket = self._enter(tasks, is_followed=False)
        try:
            while not ticket.is_done:
                await ticket.changed.wait()
        finally:
            self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error
        return [task.result() for task in tasks]

    async def follow(self, tasks: Sequence[Task[Answer]]) -> AsyncGenerator[list[Answer], None]:
        """Yield what is known of the answers as it grows; at last the answers.

        Raises:
            Exception: What ended a step while they were under way.
        """
        ticket = self._enter(tasks, is_followed=True)
        try:
            while not ticket.is_done:
                await ticket.changed.wait()
                ticket.changed = anyio.Event()
                if ticket.error is not None:
                    raise ticket.error
                yield ticket.answers
        finally:
            self._leave(ticket)

    async def serve(self) -> None:
        """Run steps for as long as the surrounding task group lives."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._has_work():
                await self._step()

    def _enter(self, tasks: Sequence[Task[Any]], *, is_followed: bool) -> _Ticket:
        readings = [reading for task in tasks for reading in task.readings]
        ticket = _Ticket(tasks, set(readings), is_followed)
        self._tickets.append(ticket)
        self._new.extend(readings)
        self._arrived.set()
        return ticket

    def _leave(self, ticket: _Ticket) -> None:
        self._tickets.remove(ticket)
        self._gone.extend(ticket.left)
        self._arrived.set()

    def _has_work(self) -> bool:
        """Tell the scheduler who came and who left; return whether anything is to be read."""
        self._scheduler.add(self._new)
        self._scheduler.remove(self._gone)
        self._new, self._gone = [], []
        return not self._scheduler.is_idle

    async def _step(self) -> None:
        """Run one step and wake those whom it concerns."""
        done: list[Reading] = []
        failure = None
        try:
            done = await anyio.to_thread.run_sync(self._scheduler.step, limiter=self._thread)
        except Exception as error:  # Boundary: a failed step fails its requests, not the server.
            failure = error
        for ticket in self._tickets:
            # Who came during the step was not in it.
            if ticket.left.isdisjoint(self._new):
                ticket.settle(set(done), failure)
                self._gone.extend(ticket.left if failure else ())
