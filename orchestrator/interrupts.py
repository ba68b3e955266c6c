"""SIGTERM ends a run as Ctrl-C does: in good order, with exit code 130."""

from __future__ import annotations

import signal
from types import FrameType


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
