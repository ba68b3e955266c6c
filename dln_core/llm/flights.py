"""Work that several tasks wait for and one of them does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

Result = TypeVar("Result")


class Flight(Generic[Result]):
    """One piece of work for several tasks: the first does it, all get its result or its error.

    A task that is cancelled while it does the work leaves it to another, which begins anew.
    """

    def __init__(self) -> None:
        self._results: list[Result] = []
        self._error: Exception | None = None
        self._is_led = False
        self._landing: anyio.Event | None = None
        self._num_members = 0

    @property
    def is_over(self) -> bool:
        """Whether there is an outcome, or nobody waits for one any more."""
        return bool(self._results or self._error) or not self._num_members

    async def join(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Wait for the outcome; whoever finds nobody at work does it.

        Raises:
            Exception: What the work raised, for every member.
        """
        self._num_members += 1
        try:
            while not self._results:
                if self._error is not None:
                    raise self._error
                if self._is_led:
                    # Most flights have one member; events are made for those that have more.
                    self._landing = self._landing or anyio.Event()
                    await self._landing.wait()
                else:
                    await self._lead(work)
            return self._results[0]
        finally:
            self._num_members -= 1

    async def _lead(self, work: Callable[[], Awaitable[Result]]) -> None:
        self._is_led = True
        try:
            self._results.append(await work())
        except Exception as error:
            # Every member raises it, this one too.
            self._error = error
        finally:
            self._is_led = False
            if self._landing:
                self._landing.set()
                self._landing = None
