"""The terminal: what a run says to its user."""

from __future__ import annotations

import sys

from rich.console import Console

from dln_core.errors import ConfigError

WIDTH_OF_FILES = 160

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)


def say(text: str) -> None:
    """Print one line as it is: no markup, no wrapping of addresses."""
    console.print(text, markup=False, soft_wrap=True)


def choose_output(output: str) -> str:
    """Choose how a run shows itself; for machines, all that is said goes to the standard error.

    Args:
        output: The setting: ``auto``, ``live``, ``plain`` or ``json``.

    Returns:
        ``live``, ``plain`` or ``json``.

    Raises:
        ConfigError: If a live table is asked for where nothing can be redrawn.
    """
    can_redraw = console.is_terminal and not console.is_dumb_terminal
    if output == "json":
        console.file = sys.stderr
    elif output == "auto":
        return "live" if can_redraw else "plain"
    elif output == "live" and not can_redraw:
        raise ConfigError(
            "output=live needs a terminal that can redraw its lines, which the standard output is "
            "not; take auto, plain or json"
        )
    return output
