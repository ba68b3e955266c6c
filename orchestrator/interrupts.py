"""SIGTERM ends a run as Ctrl-C does: in good order, with exit code 130; a second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
STDERR = 2


def treat_sigterm_as_interrupt() -> None:
    """Answer SIGTERM as SIGINT is answered at that time: an event loop cancels its main task.

    To be called again after ``ray.init``, which installs a handler that exits at once.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signum: int, frame: FrameType | None) -> None:
    # Shells let their background jobs ignore SIGINT, so that raising it would do nothing there.
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def ending_at_once_if_repeated() -> Iterator[None]:
    """Let a second interrupt end the process without any cleaning up.

    That may take long, and what is on disk is whole at all times; processes that were started end
    with this one.  To be entered in the main thread by what an event loop runs, for the loop's own
    handler answers the first interrupt.
    """
    answer = signal.getsignal(signal.SIGINT)
    if not callable(answer):  # a background job, which ignores Ctrl-C
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, _end)
        answer(signum, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, answer)


def _end(_signum: int, _frame: FrameType | None) -> None:
    os.write(STDERR, b"ended at once; the same command goes on from here\n")
    os._exit(INTERRUPTED)
