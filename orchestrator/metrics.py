"""Figures for Prometheus, by Ray's own export: ``ray_dln_…`` at every node's metrics port.

A trial's figures come from its actor and end with it; those of the sweep come from the driver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from dln_core.config import TrialSettings
from dln_core.llm.limits import LimiterSource
from orchestrator.limiter.remote import RemoteLimiters
from orchestrator.summary import TrialSummary

if TYPE_CHECKING:
    # Actors make no plans.
    from orchestrator.planning.plan import PlannedTrial

# Ray exports what a gauge was set to only for some seconds.
RECORD_S = 5.0
TRIAL_TAGS = ("task", "network", "seed")
SWEEP_TAGS = ("sweep", "state")
# Ray adds _total to the names of counters.
GAUGES = {
    "step": "Training steps done",
    "dev_accuracy": "Accuracy on dev of the best network so far",
    "in_flight": "Texts in flight",
}
COUNTERS = {
    "calls": "Calls that the trial asked for",
    "paid_calls": "Calls that were sent",
    "tokens": "Prompt and completion tokens that the trial asked for",
    "cost_usd": "US dollars spent, as far as prices are known",
    "overloads": "Calls that met a 429, a 503 or a timeout",
}
TRIALS = "Trials of the sweep by state"
STATES = ("waiting", "starting", "running", "finished", "failed")

Figures = Mapping[str, float | None]


@asynccontextmanager
async def recording(settings: TrialSettings, figures: Callable[[], Figures]) -> AsyncIterator[None]:
    """Export the figures of a trial every few seconds and at the end; nothing without Ray.

    Args:
        settings: The trial's.
        figures: Returns the present ones, by the names of ``GAUGES`` and ``COUNTERS``; those of
            counters never fall.  What is missing or None is left out.
    """
    import ray

    if not ray.is_initialized():
        yield
        return
    exported = _Exported(settings)

    async def record() -> None:
        while True:
            exported.record(figures())
            await anyio.sleep(RECORD_S)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            exported.record(figures())


class _Exported:
    """The metrics of one trial."""

    def __init__(self, settings: TrialSettings) -> None:
        from ray.util import metrics

        tags = {
            "task": settings.task.name,
            "network": settings.network.name,
            "seed": str(settings.seed),
        }
        self._gauges = {
            name: metrics.Gauge(f"dln_{name}", text, TRIAL_TAGS).set_default_tags(tags)
            for name, text in GAUGES.items()
        }
        self._counters = {
            name: metrics.Counter(f"dln_{name}", text, TRIAL_TAGS).set_default_tags(tags)
            for name, text in COUNTERS.items()
        }
        self._counted = dict.fromkeys(COUNTERS, 0.0)

    def record(self, figures: Figures) -> None:
        for name, gauge in self._gauges.items():
            value = figures.get(name)
            if value is not None:
                gauge.set(value)
        for name, counter in self._counters.items():
            more = (figures.get(name) or 0.0) - self._counted[name]
            if more > 0:
                counter.inc(more)
                self._counted[name] += more


def limiter_figures(limiters: LimiterSource) -> Figures:
    """What the open limiters of this process count; nothing where each connection has its own."""
    if not isinstance(limiters, RemoteLimiters):
        return {}
    clients = limiters.clients.values()
    return {
        "in_flight": sum(client.num_in_flight for client in clients),
        "overloads": sum(client.num_overloads for client in clients),
    }


class SweepMetrics:
    """Counts trials by state; an observer of the sweep in the driver.

    Args:
        sweep: The sweep's name.
        summaries: What the journals hold at the start, by ``trial_id``.
    """

    def __init__(self, sweep: str, summaries: Mapping[str, TrialSummary]) -> None:
        from ray.util import metrics

        self._sweep = sweep
        self._states = {
            trial_id: "finished" if summary.status == "finished" else "waiting"
            for trial_id, summary in summaries.items()
        }
        self._gauge = metrics.Gauge("dln_trials", TRIALS, SWEEP_TAGS)

    async def run(self) -> None:
        """Export the numbers every few seconds; endless."""
        while True:
            counts = Counter(self._states.values())
            for state in STATES:
                self._gauge.set(counts[state], {"sweep": self._sweep, "state": state})
            await anyio.sleep(RECORD_S)

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Note the phase of a trial."""
        self._states[trial.trial_id] = phase

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Note what an event means for its trial."""
        states = {"finish": "finished", "failed": "failed"}
        self._states[trial.trial_id] = states.get(event["kind"], "running")
