"""What is left to do of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dln_core.config import TrialSettings
from dln_core.config.baselines import chosen_baselines
from dln_core.llm.allowance import Amount
from orchestrator.accounts import NOTHING, Needs
from orchestrator.budget import may_go_on
from orchestrator.comparison import baseline_of
from orchestrator.journal import Journal
from orchestrator.planning.catalogue import Catalogue
from orchestrator.planning.estimate import estimate_baselines
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.settings.schema import BudgetConfig
from orchestrator.summary import TrialSummary


@dataclass(frozen=True, slots=True)
class BaselineJob:
    """Reference points that are missing; ``name`` is readable.

    Attributes:
        baseline_id: Identity of the chosen reference points.
        name: Readable name.
        settings: Of a trial that they are shown beside.
        expected: What those that are missing are expected to take.
        trials: Those that are still to be run beside them, by ``trial_id``.
    """

    baseline_id: str
    name: str
    settings: TrialSettings
    expected: Needs
    trials: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the job is known by to budgets and journals."""
        return self.baseline_id


Job = BaselineJob | PlannedTrial


def open_jobs(plan: Plan, journal: Journal, summaries: Mapping[str, TrialSummary]) -> list[Job]:
    """List what is to be done, reference points before the first trial shown beside them.

    Raises:
        JournalError: If the output folder cannot be read.
    """
    ordered = sorted(plan.trials, key=lambda trial: -trial.priority)
    beside = _waiting_for_points(plan, summaries)
    jobs: list[Job] = []
    seen: set[str] = set()
    catalogue = Catalogue()
    for trial in ordered:
        key = baseline_of(plan, trial)
        if key not in seen and missing_points(plan, journal, key):
            name = f"baselines {trial.settings.task.name}"
            needs = _needs_of(plan, journal, trial, catalogue)
            jobs.append(BaselineJob(key, name, trial.settings, needs, tuple(beside.get(key, ()))))
        seen.add(key)
        if is_open(summaries[trial.trial_id], plan.run.budget):
            jobs.append(trial)
    return jobs


def _waiting_for_points(plan: Plan, summaries: Mapping[str, TrialSummary]) -> dict[str, list[str]]:
    """Trials by reference points that are of no use without one of them: none is tested yet."""
    waiting: dict[str, list[str]] = {}
    tested: set[str] = set()
    for trial in plan.trials:
        key, summary = baseline_of(plan, trial), summaries[trial.trial_id]
        waiting.setdefault(key, []).append(trial.trial_id)
        tested |= {key} if summary.status == "finished" else set()
    return {key: ids for key, ids in waiting.items() if key not in tested}


def missing_points(plan: Plan, journal: Journal, baseline_id: str) -> tuple[str, ...]:
    """Name the reference points that were not begun, or that a budget left over."""
    left = journal.read_open_baselines(baseline_id)
    if left is not None:
        return tuple(left["missing"])
    is_complete = journal.read_baselines(baseline_id) is not None
    return () if is_complete else chosen_baselines(plan.run.baselines)


def _needs_of(plan: Plan, journal: Journal, trial: PlannedTrial, catalogue: Catalogue) -> Needs:
    """What the missing points beside a trial take, at the upper end of what is estimated."""
    settings, missing = trial.settings, missing_points(plan, journal, baseline_of(plan, trial))
    if not plan.run.budget.bounds():
        return Needs(dict.fromkeys(missing, NOTHING))
    size = catalogue.size(settings)
    high = {name: estimate_baselines(settings, size, [name]).high for name in missing}
    return Needs(
        {name: Amount(each.cost.tokens, each.cost_usd or 0.0) for name, each in high.items()}
    )


def is_open(summary: TrialSummary, config: BudgetConfig) -> bool:
    """Tell whether there is work left: also where a budget ended it that has been raised since."""
    if summary.status != "finished":
        return True
    stop = summary.stop
    return summary.stopped == "budget" and stop is not None and may_go_on(stop, config)
