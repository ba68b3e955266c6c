"""Which network of a sweep is the best one of its task, chosen on dev alone."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.report.methods import find_methods
from orchestrator.summary import TrialSummary


def best_trials(plan: Plan, summaries: Mapping[str, TrialSummary]) -> dict[str, PlannedTrial]:
    """Return by task the finished trial whose network is best on dev.

    It is the one that the report shows as the best: of the trained networks, or of the others where
    none is trained.  Test figures are not looked at.
    """
    methods = find_methods(plan.trials, summaries)
    best: dict[str, PlannedTrial] = {}
    for task in methods.tasks:
        cells = (methods.best_on_dev(task, trained=trained) for trained in (True, False))
        tested = [cell for cell in cells if cell is not None and cell.tested]
        if tested:
            best[task] = tested[0].best_trial
    return best
