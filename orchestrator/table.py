"""The table at the end of a sweep: what training changed, and what is not significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from orchestrator.comparison import Comparison, SweepResults
from orchestrator.plan import PlannedTrial
from orchestrator.summary import TrialSummary

_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "mean_score": "mean score"}
_EXACT = "p, exact paired"
SIGNIFICANCE = 0.05
REFERENCES = ("initial_calibrated", "few_shot", "majority")
HEADINGS = (
    "trial", "status", "dev", "test before", "after", "gain", _EXACT,
    "calibrated", "few-shot", "majority",
)  # fmt: skip


def title(results: SweepResults) -> str:
    """Return what the figures of the table are."""
    names = [name for metric, name in _METRICS.items() if metric in results.metrics]
    return f"Test {' or '.join(names)} in percent with 95 % intervals; each trial is tested once"


def headings(results: SweepResults) -> tuple[str, ...]:
    """Return the headings of the table; tests of accuracy alone are always exact."""
    more = (name.replace("_", " ") for name in _further_references(results))
    names = (*HEADINGS, *more)
    if results.metrics == {"accuracy"}:
        return names
    return tuple("p, paired" if heading == _EXACT else heading for heading in names)


def _further_references(results: SweepResults) -> tuple[str, ...]:
    """The reference points beyond the usual ones, in the order of their rows."""
    names = dict.fromkeys(str(row["baseline"]) for row in results.baselines)
    return tuple(name for name in names if name not in ("initial", *REFERENCES))


def result_cells(results: SweepResults) -> list[tuple[str, ...]]:
    """Return the cells of the table under its headings, a row a trial in plan order."""
    references = (*REFERENCES, *_further_references(results))
    return [
        _cells(
            trial,
            results.summaries[trial.trial_id],
            results.comparisons[trial.trial_id],
            references,
        )
        for trial in results.trials
    ]


def result_table(results: SweepResults) -> Table:
    """Lay the cells out for a terminal."""
    table = Table(title=title(results), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings(results):
        first = heading == "trial"
        side: JustifyMethod = "left" if first else "right"
        table.add_column(heading, justify=side, no_wrap=first, overflow="fold")
    for cells in result_cells(results):
        table.add_row(*map(escape, cells))
    return table


def _cells(
    trial: PlannedTrial,
    summary: TrialSummary,
    comparison: Comparison,
    references: Sequence[str],
) -> tuple[str, ...]:
    is_trained = trial.settings.network.is_trained
    before = comparison.before if is_trained else None
    test = summary.test
    gain = None if test is None or before is None else test["accuracy"] - before["accuracy"]
    return (
        trial.name,
        summary.status if summary.stopped is None else f"{summary.status} ({summary.stopped})",
        _percent(summary.dev_accuracy),
        _with_interval(before),
        _with_interval(test),
        "-" if gain is None else f"{100 * gain:+.1f}",
        _p_value(comparison.p_value) if is_trained else "-",
        *(_percent(comparison.references.get(name)) for name in references),
    )


def _with_interval(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    return f"{_percent(row['accuracy'])} [{_percent(row['low'])}, {_percent(row['high'])}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _p_value(p_value: float | None) -> str:
    if p_value is None:
        return "-"
    verdict = "" if p_value < SIGNIFICANCE else " not significant"
    return f"{p_value:.2g}{verdict}"
