"""How far a running sweep is: what every view of it shows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary

MOVING = ("starting", "running")
ENDED = ("finished", "failed")
# Seconds over which calls a second are taken: long enough for steps that call in bursts.
RATE_WINDOW_S = 15.0


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls, tokens and money (US dollars; None where a price is unknown)."""

    calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0

    @classmethod
    def recorded(cls, summary: TrialSummary) -> Spent:
        """What the journal of a trial adds up to."""
        return cls(summary.usage["calls"], summary.tokens, summary.cost_usd)

    def __add__(self, other: Spent) -> Spent:
        costs = (self.cost_usd, other.cost_usd)
        cost_usd = None if costs[0] is None or costs[1] is None else costs[0] + costs[1]
        return Spent(self.calls + other.calls, self.tokens + other.tokens, cost_usd)


@dataclass(slots=True)
class TrialProgress:
    """How far one trial is.

    Attributes:
        trial: The trial.
        summary: What its journal adds up to.
        phase: ``waiting``, ``starting``, ``running``, ``finished`` or ``failed``.
        live: What its actor has asked for since it was started, as far as it was heard of.
        before: What was recorded when the actor was started.
        since_s: When the first event after that came, on the monotonic clock: opening a trial takes
            seconds that say nothing of its steps.
        first_step: Steps it had done by then.
    """

    trial: PlannedTrial
    summary: TrialSummary
    phase: str = "waiting"
    live: Spent = field(default_factory=Spent)
    before: Spent = field(default_factory=Spent)
    since_s: float = 0.0
    first_step: int = 0

    @property
    def num_steps(self) -> int:
        """Training steps that the trial is going to do."""
        settings = self.trial.settings
        return settings.trainer.num_iterations if settings.network.is_trained else 0

    @property
    def spent(self) -> Spent:
        """What is recorded, or with the step under way what is heard of, if that is more."""
        recorded, heard = Spent.recorded(self.summary), self.before + self.live
        return heard if heard.calls > recorded.calls and self.phase in MOVING else recorded

    @property
    def units_left(self) -> int:
        """Steps that are left, and the test; none once it has ended."""
        if self.phase in ENDED:
            return 0
        is_stopped = self.summary.stop is not None
        return 1 if is_stopped else max(0, self.num_steps - self.summary.steps) + 1

    def unit_s(self, now: float) -> float | None:
        """Seconds that a step took under the actor that runs; None before it has done one."""
        done = self.summary.steps - self.first_step
        return (now - self.since_s) / done if done > 0 and self.phase == "running" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The whole sweep at a moment.

    Attributes:
        num_trials: All trials.
        by_phase: How many trials are in each phase that any is in.
        spent: What they have asked for.
        calls_per_s: In the last seconds; None where live counters are not asked for.
        left_s: Estimate of the time left; None before the first step.
    """

    num_trials: int
    by_phase: Mapping[str, int]
    spent: Spent
    calls_per_s: float | None
    left_s: float | None


class SweepProgress:
    """Follows all trials of a plan.

    Args:
        plan: The plan.
        summaries: What the journals hold at the start, by ``trial_id``; it changes as they do.
        max_trials: Trials at once.
        clock: Tells the monotonic time in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        summaries: Mapping[str, TrialSummary],
        max_trials: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweep = plan.sweep
        self._max_trials = max_trials
        self._clock = clock
        self._calls_at: deque[tuple[float, int]] = deque()
        self._trials = {
            trial.trial_id: _at_start(trial, summaries[trial.trial_id]) for trial in plan.trials
        }

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Note the phase of a trial."""
        progress = self._trials[trial.trial_id]
        if phase == "starting":
            progress.before, progress.live = Spent.recorded(progress.summary), Spent()
        progress.phase = phase

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Note a journalled event; the summary has taken it in already."""
        progress = self._trials[trial.trial_id]
        if event["kind"] in ("reopen", "stop"):
            # The driver's own notes: the actor may still be starting.
            return
        if progress.phase not in ("running", *ENDED):
            progress.since_s, progress.first_step = self._clock(), progress.summary.steps
        phases = {"finish": "finished", "failed": "failed"}
        progress.phase = phases.get(event["kind"], "running")

    def counted(self, trial_id: str, live: Mapping[str, Any]) -> None:
        """Note the counters of a moving trial's actor; empty before it has opened the trial."""
        if live:
            spent = Spent(live["calls"], live["tokens"], live["cost_usd"])
            self._trials[trial_id].live = spent
        now = self._clock()
        self._calls_at.append((now, self._spent().calls))
        while now - self._calls_at[0][0] > RATE_WINDOW_S:
            self._calls_at.popleft()

    def moving(self) -> list[TrialProgress]:
        """Return the trials that have begun and not ended, in plan order."""
        return [progress for progress in self._trials.values() if progress.phase in MOVING]

    def left_s(self, progress: TrialProgress) -> float | None:
        """Estimate the time that a moving trial has left; None before its first step."""
        unit_s = progress.unit_s(self._clock())
        return None if unit_s is None else unit_s * progress.units_left

    def totals(self) -> Totals:
        """Return the whole sweep."""
        phases = [progress.phase for progress in self._trials.values()]
        return Totals(
            num_trials=len(phases),
            by_phase={
                phase: phases.count(phase)
                for phase in ("finished", "failed", "running", "starting", "waiting")
                if phase in phases
            },
            spent=self._spent(),
            calls_per_s=self._calls_per_s(),
            left_s=self._left_s(),
        )

    def _spent(self) -> Spent:
        return sum((progress.spent for progress in self._trials.values()), Spent())

    def _calls_per_s(self) -> float | None:
        if len(self._calls_at) < 2:
            return None
        (first_s, first), (last_s, last) = self._calls_at[0], self._calls_at[-1]
        return max(0, last - first) / (last_s - first_s) if last_s > first_s else None

    def _left_s(self) -> float | None:
        """Spread what the trials have left over the free places.

        Of trials without a step of their own the time is taken from those of the same network, or
        else of all.
        """
        now = self._clock()
        known: dict[str, list[float]] = {}
        for progress in self._trials.values():
            unit_s = _recorded_unit_s(progress.summary)
            if unit_s is not None:
                known.setdefault(progress.trial.settings.network.name, []).append(unit_s)
        if not known:
            return None
        means = {name: sum(values) / len(values) for name, values in known.items()}
        mean = sum(means.values()) / len(means)
        left = []
        for progress in self._trials.values():
            unit_s = progress.unit_s(now) or means.get(progress.trial.settings.network.name, mean)
            left.append(unit_s * progress.units_left)
        places = max(1, min(self._max_trials, sum(seconds > 0 for seconds in left)))
        return max(sum(left) / places, max(left))


def _at_start(trial: PlannedTrial, summary: TrialSummary) -> TrialProgress:
    phase = "finished" if summary.status == "finished" else "waiting"
    return TrialProgress(trial, summary, phase)


def _recorded_unit_s(summary: TrialSummary) -> float | None:
    """Seconds that a unit of work took; None before the first."""
    return None if summary.status == "pending" else summary.seconds / (summary.steps + 1)
