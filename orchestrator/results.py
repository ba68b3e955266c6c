"""The results of a sweep, a row a trial in plan order, and its reference points."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dln_core.identity import baseline_id
from dln_core.stats import mcnemar_exact
from orchestrator.files import write_atomic
from orchestrator.journal import Journal
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.summary import USAGE_FIELDS, TrialSummary

COLUMNS = (
    "trial_id",
    "task",
    "network",
    "seed",
    "preset",
    "rung",
    "status",
    "dev_accuracy",
    "test_accuracy",
    "test_accuracy_low",
    "test_accuracy_high",
    "elbo",
    "steps",
    *USAGE_FIELDS.values(),
    "cost_usd",
    "seconds",
)
BASELINE_COLUMNS = (
    "task", "model", "baseline", "num_items", "num_correct", "accuracy", "low", "high",
)  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A finished trial beside the reference points on the same items.

    Attributes:
        before: Test accuracy of the initial prompt; None where it was not computed.
        p_value: Two-sided exact McNemar test of before against after, paired by item.
        references: Test accuracy by name of the reference point.
    """

    before: float | None
    p_value: float | None
    references: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SweepResults:
    """All that tables and reports are made from; summaries and comparisons are by ``trial_id``."""

    trials: tuple[PlannedTrial, ...]
    summaries: Mapping[str, TrialSummary]
    comparisons: Mapping[str, Comparison]
    baselines: tuple[Row, ...]

    def rows(self) -> list[Row]:
        """Return a row a trial, in plan order."""
        return [_row(trial, self.summaries[trial.trial_id]) for trial in self.trials]


def gather(plan: Plan, journal: Journal, summaries: Mapping[str, TrialSummary]) -> SweepResults:
    """Put the trials of a plan beside their recorded reference points.

    Raises:
        JournalError: If the output folder cannot be read.
    """
    ids = {trial.trial_id: baseline_of(plan, trial) for trial in plan.trials}
    tables = {key: journal.read_baselines(key) or [] for key in dict.fromkeys(ids.values())}
    comparisons = {
        trial.trial_id: _compare(summaries[trial.trial_id], tables[ids[trial.trial_id]])
        for trial in plan.trials
    }
    rows = tuple(row for table in tables.values() for row in table)
    return SweepResults(plan.trials, summaries, comparisons, rows)


def baseline_of(plan: Plan, trial: PlannedTrial) -> str:
    """Return the id of the reference points that a trial is shown beside."""
    return baseline_id(trial.settings, plan.digests[trial.trial_id])


def _compare(summary: TrialSummary, table: Sequence[Row]) -> Comparison:
    references = {row["baseline"]: row["accuracy"] for row in table}
    initial = next((row for row in table if row["baseline"] == "initial"), None)
    if initial is None:
        return Comparison(before=None, p_value=None, references=references)
    before = {item["id"]: item["correct"] for item in initial["predictions"]}
    p_value = None
    if summary.correct and summary.correct.keys() == before.keys():
        p_value = mcnemar_exact(
            [before[item] for item in summary.correct], list(summary.correct.values())
        )
    return Comparison(before=initial["accuracy"], p_value=p_value, references=references)


def _row(trial: PlannedTrial, summary: TrialSummary) -> Row:
    test = summary.test or {}
    return {
        "trial_id": trial.trial_id,
        "task": trial.settings.task.name,
        "network": trial.settings.network.name,
        "seed": trial.settings.seed,
        "preset": trial.settings.trainer.preset,
        "rung": summary.rung,
        "status": summary.status,
        "dev_accuracy": summary.dev_accuracy,
        "test_accuracy": test.get("accuracy"),
        "test_accuracy_low": test.get("low"),
        "test_accuracy_high": test.get("high"),
        "elbo": summary.elbo,
        "steps": summary.steps,
        **summary.usage,
        "cost_usd": summary.cost_usd,
        "seconds": round(summary.seconds, 3),
        **trial.varying,
    }


def write_results(out_dir: Path, results: SweepResults) -> None:
    """Write ``results.csv``, ``results.json`` and ``baselines.csv``.

    Raises:
        JournalError: If the file system refuses.
    """
    rows = results.rows()
    varying = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    write_atomic(out_dir / "results.csv", _csv((*COLUMNS, *varying), rows))
    write_atomic(out_dir / "results.json", json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    write_atomic(out_dir / "baselines.csv", _csv(BASELINE_COLUMNS, results.baselines))


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
