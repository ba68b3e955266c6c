"""What a running sweep shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary

MOVING = ("starting", "running")


@dataclass(slots=True)
class TrialProgress:
    """How far one trial is.

    Attributes:
        trial: The trial.
        summary: What its journal adds up to.
        phase: ``waiting``, ``starting``, ``running``, ``finished`` or ``failed``.
        live: Counters of the step under way, asked for from time to time.
        started_s: When it began to move in this run, on the monotonic clock.
        first_step: Steps it had done by then.
    """

    trial: PlannedTrial
    summary: TrialSummary
    phase: str = "waiting"
    live: Mapping[str, Any] = field(default_factory=dict)
    started_s: float = 0.0
    first_step: int = 0

    @property
    def num_steps(self) -> int:
        """Training steps that the trial is going to do."""
        settings = self.trial.settings
        return settings.trainer.num_iterations if settings.network.is_trained else 0

    def left_s(self) -> float | None:
        """Estimate the time left in seconds from the steps of this run; None before the first."""
        done = self.summary.steps - self.first_step
        if done <= 0:
            return None
        return (time.monotonic() - self.started_s) / done * (self.num_steps - self.summary.steps)


class SweepProgress:
    """Follows all trials of a plan.

    Args:
        plan: The plan.
        summaries: What the journals hold at the start, by ``trial_id``.
        max_trials: Trials at once.
    """

    def __init__(self, plan: Plan, summaries: Mapping[str, TrialSummary], max_trials: int) -> None:
        self._sweep = plan.sweep
        self._max_trials = max_trials
        self._trials = {
            trial.trial_id: _at_start(trial, summaries[trial.trial_id]) for trial in plan.trials
        }

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Note the phase of a trial."""
        progress = self._trials[trial.trial_id]
        if phase == "starting":
            progress.started_s = time.monotonic()
            progress.first_step = progress.summary.steps
        progress.phase = phase

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Note a journalled event; the summary has taken it in already."""
        phases = {"finish": "finished", "failed": "failed"}
        self._trials[trial.trial_id].phase = phases.get(event["kind"], "running")

    def counted(self, trial_id: str, live: Mapping[str, Any]) -> None:
        """Note the counters of a moving trial."""
        self._trials[trial_id].live = live

    def __rich__(self) -> RenderableType:
        trials = list(self._trials.values())
        moving = [progress for progress in trials if progress.phase in MOVING]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("trial", "state", "step", "dev", "calls", "tokens", "cost", "left"):
            table.add_column(heading, justify="left" if heading == "trial" else "right")
        for progress in moving:
            table.add_row(*map(escape, trial_cells(progress)))
        return Group(table, Text(self.totals_line(), style="dim"))

    def totals_line(self) -> str:
        """Return the whole sweep in one line."""
        trials = list(self._trials.values())
        counts = {phase: sum(p.phase == phase for p in trials) for phase in ("finished", "failed")}
        costs = [p.summary.cost_usd for p in trials]
        return (
            f"{self._sweep}: {counts['finished']} of {len(trials)} trials finished"
            + (f", {counts['failed']} failed" if counts["failed"] else "")
            + f" · {sum(p.summary.usage['calls'] for p in trials):,} calls"
            + f" · {sum(p.summary.tokens for p in trials):,} tokens"
            + f" · {cost_text(None if None in costs else sum(c or 0.0 for c in costs))}"
            + f" · {duration_text(self._left_s())} left"
        )

    def _left_s(self) -> float | None:
        """Estimate from the trials' own recorded times per step, spread over the free places."""
        trials = list(self._trials.values())
        steps = sum(p.summary.steps + 1 for p in trials if p.summary.status != "pending")
        seconds = sum(p.summary.seconds for p in trials)
        if steps == 0 or seconds == 0.0:
            return None
        open_ones = [p for p in trials if p.phase not in ("finished", "failed")]
        left = sum(p.num_steps + 1 - p.summary.steps for p in open_ones)
        places = max(1, min(self._max_trials, len(open_ones)))
        return seconds / steps * left / places


def _at_start(trial: PlannedTrial, summary: TrialSummary) -> TrialProgress:
    phase = "finished" if summary.status == "finished" else "waiting"
    return TrialProgress(trial, summary, phase)


def trial_cells(progress: TrialProgress) -> tuple[str, ...]:
    """Return one moving trial as cells: the recorded figures plus those of the step under way."""
    summary, live = progress.summary, progress.live
    return (
        progress.trial.name,
        progress.phase,
        f"{summary.steps}/{progress.num_steps}",
        "-" if summary.dev_accuracy is None else f"{100 * summary.dev_accuracy:.1f}",
        f"{max(summary.usage['calls'], live.get('calls', 0)):,}",
        f"{max(summary.tokens, live.get('tokens', 0)):,}",
        cost_text(summary.cost_usd),
        duration_text(progress.left_s()),
    )


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


class PlainLines:
    """Writes one line an event, for files and pipes.

    Args:
        console: Where to write.
        progress: The view whose figures are written; it must be told of each event first.
    """

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        self._console = console
        self._progress = progress

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Say that a trial starts; other phases have an event of their own."""
        if phase == "starting":
            self._say(f"{trial.name}: starting")

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Say what an event brought."""
        self._say(f"{trial.name}: {event_text(event)}")
        if event["kind"] in ("finish", "failed"):
            self._say(self._progress.totals_line())

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def event_text(event: dict[str, Any]) -> str:
    """Return an event as a few words."""
    if event["kind"] == "failed":
        return f"failed: {event['error']}"
    if event["kind"] == "finish":
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


def live_view(console: Console, progress: SweepProgress) -> Live:
    """Return the live table; it redraws itself while it is entered."""
    return Live(progress, console=console, refresh_per_second=4, transient=True)
