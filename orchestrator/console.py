"""The terminal: what a run says to its user."""

from __future__ import annotations

import sys

from rich.console import Console

WIDTH_OF_FILES = 160

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)


def say(text: str) -> None:
    """Print one line as it is: no markup, no wrapping of addresses."""
    console.print(text, markup=False, soft_wrap=True)
