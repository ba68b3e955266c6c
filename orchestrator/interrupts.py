"""SIGTERM ends a run as Ctrl-C does: in good order, with exit code 130."""

from __future__ import annotations

import signal
from types import FrameType


def treat_sigterm_as_interrupt() -> None:
    """Turn SIGTERM into SIGINT, which an event loop answers by cancelling its main task.

    To be called again after ``ray.init``, which installs a handler that exits at once.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
