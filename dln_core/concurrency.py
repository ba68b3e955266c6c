"""The one way in which the core starts concurrent work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

from dln_core.errors import RequestError

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_BOUND = 256


async def map_bounded(
    function: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    *,
    bound: int = DEFAULT_BOUND,
) -> list[Result]:
    """Apply an async function to every item, at most ``bound`` at a time.

    Results come in the order of the items, whatever the order of completion.  The first error
    cancels the rest and is raised as it is.  A refused request cancels nothing: once all others are
    done, that of the first item is raised, so that whoever survives it has the same whatever the
    order of completion.
    """
    known, refusals = parted(await map_surviving(function, items, bound=bound))
    if refusals:
        raise refusals[0]
    return known


async def map_surviving(
    function: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    *,
    bound: int = DEFAULT_BOUND,
) -> list[Result | RequestError]:
    """Like ``map_bounded``, but an item whose request is refused has that error as its result."""
    if len(items) == 1:
        # Most parts have one body and most networks one answer: a task for each is dear.
        try:
            return [await function(items[0])]
        except RequestError as error:
            return [error]
    results: list[Result | RequestError | None] = [None] * len(items)
    waiting = iter(enumerate(items))
    errors: list[Exception] = []

    async def work(scope: anyio.CancelScope) -> None:
        for index, item in waiting:
            try:
                results[index] = await function(item)
            except RequestError as error:
                results[index] = error
            except Exception as error:
                errors.append(error)
                scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(bound, len(items))):
            group.start_soon(work, group.cancel_scope)
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]


def parted(
    results: Sequence[Result | RequestError],
) -> tuple[list[Result], list[RequestError]]:
    """Part what ``map_surviving`` returns into results and refusals, each in order."""
    known = [result for result in results if not isinstance(result, RequestError)]
    return known, [result for result in results if isinstance(result, RequestError)]


async def run_all(*functions: Callable[[], Awaitable[Result]]) -> list[Result]:
    """Run a few async functions side by side and return their results in order."""
    return await map_bounded(lambda function: function(), functions)


class Shared(Generic[Result]):
    """A value that several tasks need: the first of them computes it, the others wait."""

    def __init__(self, compute: Callable[[], Awaitable[Result]]) -> None:
        self._compute = compute
        self._turn = anyio.Lock()
        self._computed: list[Result] = []

    async def get(self) -> Result:
        """Return the value; if computing it fails, the next one who asks tries again."""
        async with self._turn:
            if not self._computed:
                self._computed.append(await self._compute())
            return self._computed[0]
