"""What is left to do of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dln_core.config import TrialSettings
from dln_core.llm.allowance import Amount
from orchestrator.budget import may_go_on
from orchestrator.comparison import baseline_of
from orchestrator.journal import Journal
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
        expected: What they are expected to take.
    """

    baseline_id: str
    name: str
    settings: TrialSettings
    expected: Amount

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
    jobs: list[Job] = []
    seen: set[str] = set()
    has_points = bool(plan.run.baselines)
    for trial in sorted(plan.trials, key=lambda trial: -trial.priority):
        key = baseline_of(plan, trial)
        if has_points and key not in seen and journal.read_baselines(key) is None:
            name = f"baselines {trial.settings.task.name}"
            # Each asks for every test item about once.
            expected = trial.parts.test.times(len(plan.run.baselines))
            jobs.append(BaselineJob(key, name, trial.settings, expected))
        seen.add(key)
        if is_open(summaries[trial.trial_id], plan.run.budget):
            jobs.append(trial)
    return jobs


def is_open(summary: TrialSummary, config: BudgetConfig) -> bool:
    """Tell whether there is work left: also where a budget ended it that has been raised since."""
    if summary.status != "finished":
        return True
    stop = summary.stop
    return summary.stopped == "budget" and stop is not None and may_go_on(stop, config)
