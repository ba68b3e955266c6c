"""Which network of a sweep is the best one of its task, chosen on dev alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary


def best_trials(plan: Plan, summaries: Mapping[str, TrialSummary]) -> dict[str, PlannedTrial]:
    """Return by task the finished trial whose network is best on dev.

    The setting with the best mean over its seeds is chosen first, then the best seed of it; of
    equals the first in plan order.  Test figures are not looked at.
    """
    settings: dict[str, dict[str, list[PlannedTrial]]] = {}
    for trial in plan.trials:
        if summaries[trial.trial_id].status == "finished":
            key = repr(replace(trial.settings, seed=0))
            settings.setdefault(trial.settings.task.name, {}).setdefault(key, []).append(trial)

    def dev_accuracy(trial: PlannedTrial) -> float:
        return summaries[trial.trial_id].dev_accuracy or 0.0

    def mean(trials: Iterable[PlannedTrial]) -> float:
        return fmean(map(dev_accuracy, trials))

    return {
        task: max(max(groups.values(), key=mean), key=dev_accuracy)
        for task, groups in settings.items()
    }
