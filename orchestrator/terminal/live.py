"""What a running sweep shows to people: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from orchestrator.planning.plan import PlannedTrial
from orchestrator.terminal.progress import SweepProgress, Totals, TrialProgress

HEADINGS = ("trial", "state", "step", "dev", "calls", "tokens", "cost", "left")
# Left out in this order where the terminal is too narrow for them and the trials' names.
DISPENSABLE = ("state", "tokens", "calls", "cost", "dev", "left")
MIN_NAME_WIDTH = 20
GAP = "  "
# In files, larger sweeps tell of starts and ends alone.
MAX_TRIALS_BY_STEP = 20


class LiveTable:
    """The moving trials as far as they fit, the rest summed, and the whole sweep below.

    No line is wider than the terminal and there are never more lines than it has: what scrolls away
    cannot be redrawn.
    """

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, console.size.height
        footer = totals_lines(self._progress.sweep, self._progress.totals())
        moving = self._progress.moving()
        # One line for the headings, one for the cursor below the table.
        room = max(0, height - len(footer) - 2)
        shown = moving if len(moving) <= room else moving[: max(0, room - 1)]
        if shown:
            rows = [self._cells(progress) for progress in shown]
            heading, *lines = fitted([HEADINGS, *rows], width)
            yield _line(heading, width, "bold")
            for line in lines:
                yield _line(line, width)
        if len(moving) > len(shown):
            yield _line(f"… and {len(moving) - len(shown)} more", width, "dim")
        for text in footer:
            yield _line(text, width, "dim")

    def _cells(self, progress: TrialProgress) -> tuple[str, ...]:
        spent, dev_accuracy = progress.spent, progress.summary.dev_accuracy
        return (
            progress.trial.name,
            progress.phase,
            f"{progress.summary.steps}/{progress.num_steps}",
            "-" if dev_accuracy is None else f"{100 * dev_accuracy:.1f}",
            f"{spent.calls:,}",
            f"{spent.tokens:,}",
            cost_text(spent.cost_usd),
            duration_text(self._progress.left_s(progress)),
        )


def _line(text: str, width: int, style: str = "") -> Text:
    line = Text(text, style=style, no_wrap=True, overflow="ellipsis")
    line.truncate(width, overflow="ellipsis")
    return line


def fitted(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay rows out in columns on lines of at most a width.

    Names are cut in the middle, since they differ at both ends; columns that leave them no room
    are left out.

    Args:
        rows: The headings, and rows of as many cells.
        width: Characters a line.
    """
    kept = list(range(len(rows[0])))
    widths = [max(len(row[column]) for row in rows) for column in kept]

    def room() -> int:
        return width - sum(len(GAP) + widths[column] for column in kept[1:])

    for heading in DISPENSABLE:
        if room() >= min(widths[0], MIN_NAME_WIDTH):
            break
        kept.remove(HEADINGS.index(heading))
    name_width = max(1, min(widths[0], room()))
    return [
        GAP.join(
            [
                shortened(row[0], name_width).ljust(name_width),
                *(row[column].rjust(widths[column]) for column in kept[1:]),
            ]
        )
        for row in rows
    ]


def shortened(text: str, width: int) -> str:
    """Cut a text in the middle."""
    if len(text) <= width:
        return text
    head, tail = (width - 1) // 2, width // 2
    return f"{text[:head]}…{text[len(text) - tail :]}"


def totals_lines(sweep: str, totals: Totals) -> tuple[str, str]:
    """Return the whole sweep in two lines: where its trials are, and what it takes."""
    others = (phase for phase in totals.by_phase if phase != "finished")
    finished = totals.by_phase.get("finished", 0)
    trials = [
        f"{sweep}: {finished} of {totals.num_trials} trials finished",
        *(f"{totals.by_phase[phase]} {phase}" for phase in others),
    ]
    rate = totals.calls_per_s
    taken = [
        f"{duration_text(totals.left_s)} left",
        cost_text(totals.spent.cost_usd),
        f"{totals.spent.tokens:,} tokens",
        f"{totals.spent.calls:,} calls" + ("" if rate is None else f" ({rate:,.0f}/s)"),
    ]
    return " · ".join(trials), " · ".join(taken)


def cost_text(cost_usd: float | None) -> str:
    """Return an amount in US dollars; ``$?`` where a price is unknown."""
    return "$?" if cost_usd is None else f"${cost_usd:.4f}"


def duration_text(seconds: float | None) -> str:
    """Return a duration as ``1h02m`` or ``2m03s``; ``?`` where it is unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class LiveView:
    """Redraws the table until it is left; failures stay on the screen above it.

    Args:
        console: A terminal.
        progress: What is shown; it must be told of each event first.
    """

    wants_counters = True

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        self._console = console
        self._live = Live(
            LiveTable(progress),
            console=console,
            refresh_per_second=4,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveView:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Show nothing: the table does."""

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Show why a trial failed."""
        if event["kind"] == "failed":
            self._console.print(f"{trial.name}: {event_text(event)}", markup=False)


class PlainLines:
    """Writes one line an event, for files and pipes; of large sweeps the starts and ends alone.

    Args:
        console: Where to write.
        progress: The sweep whose totals are written; it must be told of each event first.
    """

    wants_counters = False

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        self._console = console
        self._progress = progress
        self._tells_steps = progress.totals().num_trials <= MAX_TRIALS_BY_STEP

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what was written."""

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Say that a trial starts; other phases have an event of their own."""
        if phase == "starting":
            self._say(f"{trial.name}: starting")

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Say what an event brought."""
        has_ended = event["kind"] in ("finish", "failed")
        if has_ended or self._tells_steps or event["kind"] not in ("start", "step"):
            self._say(f"{trial.name}: {event_text(event)}")
        if has_ended:
            self._say(" · ".join(totals_lines(self._progress.sweep, self._progress.totals())))

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def event_text(event: dict[str, Any]) -> str:
    """Return an event as a few words."""
    match event["kind"]:
        case "failed":
            return f"failed: {event['error']}"
        case "stop":
            bound = "" if event["bound"] is None else f" ({event['bound']}={event['value']:g})"
            return f"stopped: {event['reason']}{bound}; its best network is tested"
        case "abandoned":
            work = {"start": "first validation", "finish": "test"}.get(event["work"], "step")
            return f"a {work} was given up, because its budget is used up"
        case "reopen":
            return "goes on, because its budget was raised"
        case "finish":
            test = event["test"]
            return f"finished, test {100 * test['accuracy']:.1f} on {test['num_items']} items"
    name = "start" if event["kind"] == "start" else f"step {event['step']}"
    figures = [
        f"{label} {event['metrics'][key]:.3f}"
        for key, label in (("dev/accuracy", "dev"), ("train/elbo", "elbo"))
        if key in event["metrics"]
    ]
    calls = sum(counts["calls"] for counts in event["usage"].values())
    return ", ".join((name, *figures, f"{calls:,} calls", f"{event['seconds']:.1f} s"))
