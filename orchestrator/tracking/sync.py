"""Completes a tracking store from the journals, and tells where it is looked at."""

from __future__ import annotations

from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan
from orchestrator.settings.addresses import without_password
from orchestrator.terminal.console import say
from orchestrator.tracking.tracker import Tracker

MOST_RUNS_IN_PRINTED_URL = 40


def sync(plan: Plan) -> int:
    """Complete the tracking store from the journals of a sweep; return the exit code.

    Raises:
        TrackingError: If the store is locked, foreign or out of reach.
        JournalError: If the folder holds no sweep, a driver is at work in it or it cannot be read.
        ConfigError: If it holds other trials than those of the plan.
    """
    Journal(plan.out_dir).require_sweep("sync", [trial.trial_id for trial in plan.trials])
    with Journal.locked(plan.out_dir) as journal:
        tracker = Tracker(plan, journal)
        tracker.complete({trial.trial_id: journal.read(trial.trial_id) for trial in plan.trials})
    say(f"the record in {without_password(plan.run.tracking.uri)} is complete")
    say_where(plan, tracker)
    return 0


def say_where(plan: Plan, tracker: Tracker) -> None:
    """Tell how to look at the runs."""
    uri = plan.run.tracking.uri
    if not uri.startswith("http"):
        say(f"look at the runs with: mlflow ui --backend-store-uri {without_password(uri)}")
    say(f"their charts: {tracker.charts_url()}")
    if len(plan.trials) <= MOST_RUNS_IN_PRINTED_URL:
        say(f"compare them at: {tracker.compare_url()}")
    else:
        say(f"compare them by the link in {plan.out_dir / 'report.html'}")
