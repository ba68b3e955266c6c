"""The results of a sweep, a row a trial in plan order, and its reference points."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.comparison import Row, SweepResults, gather
from orchestrator.files import write_atomic
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.report import baseline_columns, write_report
from orchestrator.summary import USAGE_FIELDS, TrialSummary
from orchestrator.terminal.console import console, say
from orchestrator.terminal.table import ResultTable

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
    "stopped",
    "test_looks",
    *USAGE_FIELDS.values(),
    "cost_usd",
    "seconds",
)


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
        "stopped": summary.stopped,
        "test_looks": summary.test_looks,
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
    rows = [_row(trial, results.summaries[trial.trial_id]) for trial in results.trials]
    if results.metrics != {"accuracy"}:
        for row, trial in zip(rows, results.trials, strict=True):
            row["metric"] = trial.settings.task.metric
    varying = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    write_atomic(out_dir / "results.csv", _csv((*COLUMNS, *varying), rows))
    write_atomic(out_dir / "results.json", json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    write_atomic(out_dir / "baselines.csv", _csv(baseline_columns(results), results.baselines))


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def report(plan: Plan) -> int:
    """Rebuild results, reference points and report from the journals; return the exit code.

    Nothing is locked: it may be asked for while the sweep runs.

    Raises:
        JournalError: If the output folder holds no sweep, or cannot be read or written.
        ConfigError: If it holds other trials than those of the plan.
    """
    journal = Journal(plan.out_dir)
    journal.require_sweep("report", [trial.trial_id for trial in plan.trials])
    summaries = {trial.trial_id: journal.read(trial.trial_id).summary for trial in plan.trials}
    results = gather(plan, journal, summaries)
    write_results(plan.out_dir, results)
    write_report(plan, results, None)
    console.print(ResultTable(results))
    say(f"report: {plan.out_dir / 'report.html'}")
    return 0
