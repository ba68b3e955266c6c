"""The terminal: what a run says to its user."""

from __future__ import annotations

from rich.console import Console

console = Console(highlight=False)


def say(text: str) -> None:
    """Print one line as it is: no markup, no wrapping of addresses."""
    console.print(text, markup=False, soft_wrap=True)
