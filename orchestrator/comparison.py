"""The trials of a sweep beside the reference points on the same test items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.identity import baseline_id
from dln_core.metrics import judged, p_value
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A finished trial beside the reference points on the same items.

    Attributes:
        before: The row of the initial prompt; None where it was not computed.
        p_value: Two-sided test of before against after, paired by item, items of one source as one:
            McNemar's exact one, or by swaps for a metric other than accuracy.
        references: Test accuracy, or the value of the task's other metric, by name of the
            reference point.
    """

    before: Row | None
    p_value: float | None
    references: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SweepResults:
    """All that tables and reports are made from; summaries and comparisons are by ``trial_id``."""

    trials: tuple[PlannedTrial, ...]
    summaries: Mapping[str, TrialSummary]
    comparisons: Mapping[str, Comparison]
    baselines: tuple[Row, ...]

    @property
    def metrics(self) -> set[str]:
        """What the trials are measured by."""
        return {trial.settings.task.metric for trial in self.trials}


def gather(plan: Plan, journal: Journal, summaries: Mapping[str, TrialSummary]) -> SweepResults:
    """Put the trials of a plan beside their recorded reference points.

    Raises:
        JournalError: If the output folder cannot be read.
    """
    ids = {trial.trial_id: baseline_of(plan, trial) for trial in plan.trials}
    tables = {key: journal.read_baselines(key) or [] for key in dict.fromkeys(ids.values())}
    comparisons = {
        trial.trial_id: _compare(trial, summaries[trial.trial_id], tables[ids[trial.trial_id]])
        for trial in plan.trials
    }
    rows = tuple({"metric": "accuracy"} | row for table in tables.values() for row in table)
    return SweepResults(plan.trials, summaries, comparisons, rows)


def baseline_of(plan: Plan, trial: PlannedTrial) -> str:
    """Return the id of the reference points that a trial is shown beside."""
    return baseline_id(trial.settings, plan.digests[trial.trial_id], plan.run.baselines)


def _compare(trial: PlannedTrial, summary: TrialSummary, table: Sequence[Row]) -> Comparison:
    references = {row["baseline"]: row["accuracy"] for row in table}
    initial = next((row for row in table if row["baseline"] == "initial"), None)
    if initial is None:
        return Comparison(before=None, p_value=None, references=references)
    before, after = {item["id"]: judged(item) for item in initial["predictions"]}, summary.items
    p = None
    if after and after.keys() == before.keys():
        paired = [before[name] for name in after]
        clusters = [str(item.get("group", name)) for name, item in after.items()]
        p = p_value(trial.settings.task.metric, paired, list(after.values()), clusters)
    return Comparison(before=initial, p_value=p, references=references)
