"""Which view of a running sweep the setting ``output`` asks for."""

from __future__ import annotations

from orchestrator.terminal.console import choose_output, console
from orchestrator.terminal.json_lines import JsonLines
from orchestrator.terminal.live import LiveView, PlainLines
from orchestrator.terminal.progress import SweepProgress

View = LiveView | PlainLines | JsonLines


def view_of(output: str, progress: SweepProgress) -> View:
    """Make the view of a sweep: an observer that shows while it is entered.

    Args:
        output: The setting.
        progress: The sweep; it must be told of each event before the view.

    Raises:
        ConfigError: If a live table is asked for where nothing can be redrawn.
    """
    match choose_output(output):
        case "live":
            return LiveView(console, progress)
        case "json":
            return JsonLines(progress)
        case _:
            return PlainLines(console, progress)
