"""Errors out of task groups."""

from __future__ import annotations


def first_of(error: Exception) -> Exception:
    """Return the first plain error within nested groups, or the error itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
