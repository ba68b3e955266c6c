"""Memory of a driver, which lives long, has many threads and sees thousands of trials."""

from __future__ import annotations

import ctypes
import sys

# The name of the setting in glibc's malloc.h.
_M_ARENA_MAX = -8
_NUM_ARENAS = 2


def share_arenas() -> None:
    """Let the threads of this process allocate from two arenas instead of eight a core.

    What a thread frees stays with its arena, so that a driver grew by 130 kB a trial of which it
    held 12.  Where there is no glibc this does nothing.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:
            set_option(_M_ARENA_MAX, _NUM_ARENAS)
