"""An event loop whose clock leaps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import anyio


class _Leaping(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("all tasks wait for one another, and no timer is set")
        self.loop.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop of its own time; whatever runs in it must neither use threads nor the network.

    Attributes:
        now: The time in seconds; it begins at 0.
    """

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Leaping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the time in seconds."""
        return self.now


def run_virtually(main: Callable[..., Awaitable[Any]], *args: object) -> Any:
    """Run an async function in virtual time and return its result."""
    return anyio.run(main, *args, backend_options={"loop_factory": VirtualLoop})
