"""The table at the end of a sweep: what training changed, and what is not significant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from orchestrator.comparison import Comparison, SweepResults
from orchestrator.planning.plan import PlannedTrial
from orchestrator.summary import TrialSummary

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1", "mean_score": "mean score"}
_EXACT = "p, exact paired"
SIGNIFICANCE = 0.05
_REFERENCES = {"initial_calibrated": "calibrated", "few_shot": "few-shot", "majority": "majority"}
_HEADINGS = ("trial", "status", "dev", "test before", "after", "gain", _EXACT)
_PAIRED = "p, paired"
_UNBOUNDED = 100_000

Columns = dict[str, list[str]]


def title(results: SweepResults) -> str:
    """Return what the figures of the table are."""
    names = [name for metric, name in METRIC_NAMES.items() if metric in results.metrics]
    looks = [results.summaries[trial.trial_id].test_looks for trial in results.trials]
    match sum(count > 1 for count in looks):
        case 0:
            tested = "each trial is tested once"
        case 1:
            tested = "1 trial was tested more than once"
        case several:
            tested = f"{several} trials were tested more than once"
    return f"Test {' or '.join(names)} in percent with 95 % intervals; {tested}"


def headings(results: SweepResults) -> tuple[str, ...]:
    """Return the headings of the table; tests of accuracy alone are always exact."""
    shown = (_REFERENCES.get(name, name.replace("_", " ")) for name in _references(results))
    names = (*_HEADINGS, *shown)
    if results.metrics == {"accuracy"}:
        return names
    return tuple(_PAIRED if heading == _EXACT else heading for heading in names)


def _references(results: SweepResults) -> tuple[str, ...]:
    """Reference points that were computed, the usual ones first; the initial has a column."""
    found = dict.fromkeys(str(row["baseline"]) for row in results.baselines)
    usual = tuple(name for name in _REFERENCES if name in found)
    return usual + tuple(name for name in found if name not in ("initial", *_REFERENCES))


def result_cells(results: SweepResults) -> list[tuple[str, ...]]:
    """Return the cells of the table under its headings, a row a trial in plan order."""
    references = _references(results)
    return [
        _cells(
            trial,
            results.summaries[trial.trial_id],
            results.comparisons[trial.trial_id],
            references,
        )
        for trial in results.trials
    ]


class ResultTable:
    """The cells laid out for a terminal of any width.

    Where it is too narrow for all, words are written shorter, then columns left out, the least
    telling first. Names are wrapped last. What is missing is said below.
    """

    def __init__(self, results: SweepResults) -> None:
        cells = zip(*result_cells(results), strict=True)
        self._columns = dict(zip(headings(results), map(list, cells), strict=True))
        self._title = title(results)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=_UNBOUNDED)
        shown = self._columns
        for shown in _narrower(self._columns):
            width = Measurement.get(console, unbounded, _laid_out(shown)).maximum
            if width <= options.max_width:
                break
        yield self._title
        yield _laid_out(shown)
        if "p" in shown:
            yield _note(self._columns, shown)


def _narrower(columns: Columns) -> Iterator[Columns]:
    """Yield the columns as they are, then narrower and narrower."""
    yield columns
    columns = {
        "p" if heading in (_EXACT, _PAIRED) else heading: [_shorter(cell) for cell in cells]
        for heading, cells in columns.items()
    }
    yield columns
    if set(columns["status"]) == {"finished"}:
        columns = _without(columns, "status")
        yield columns
    columns = {
        "before" if heading == "test before" else heading: [
            cell.split(" [")[0] if heading == "test before" else cell for cell in cells
        ]
        for heading, cells in columns.items()
    }
    yield columns
    names = list(columns)
    references = [name for name in names[names.index("p") + 1 :] if name != "majority"]
    for heading in ("majority", "dev", *reversed(references)):
        columns = _without(columns, heading)
        yield columns


def _shorter(cell: str) -> str:
    """Leave out what goes without saying: trials that were stopped early are finished, too."""
    cell = cell.replace("not significant", "n.s.")
    return cell[:-1].removeprefix("finished (") if cell.startswith("finished (") else cell


def _without(columns: Columns, dropped: str) -> Columns:
    return {heading: cells for heading, cells in columns.items() if heading != dropped}


def _laid_out(columns: Columns) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in columns:
        side: JustifyMethod = "left" if heading == "trial" else "right"
        table.add_column(heading, justify=side, no_wrap=heading not in ("trial", "status"))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(escape, cells))
    return table


def _note(columns: Columns, shown: Columns) -> str:
    """Say what was written shorter and what was left out."""
    test = "exact paired test" if _EXACT in columns else "paired test"
    notes = [f"p: {test} (n.s.: not significant)"]
    if "status" not in shown:
        notes.append("all trials are finished")
    kept = ("status", "test before", _EXACT, _PAIRED, *shown)
    missing = [heading for heading in columns if heading not in kept]
    if missing:
        notes.append(f"too narrow for {', '.join(missing)}")
    return "; ".join(notes)


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
        _status(summary),
        _percent(summary.dev_accuracy),
        _with_interval(before),
        _with_interval(test),
        "-" if gain is None else f"{100 * gain:+.1f}",
        _p_value(comparison.p_value) if is_trained else "-",
        *(_percent(comparison.references.get(name)) for name in references),
    )


def _status(summary: TrialSummary) -> str:
    notes = [] if summary.stopped is None else [f"stopped: {summary.stopped}"]
    if summary.test_looks > 1:
        notes.append(f"test looked at {summary.test_looks} times")
    return f"{summary.status} ({', '.join(notes)})" if notes else summary.status


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
