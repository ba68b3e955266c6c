"""The report as one self-contained page, with its figures and tables as files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator.comparison import SweepResults
from orchestrator.files import journal_errors, read_json, write_atomic
from orchestrator.journal import Journal
from orchestrator.planning.estimate import compare
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.report.differences import Contest, contest_all
from orchestrator.report.figures import curve_panels, spending_panel
from orchestrator.report.lineage import Lineage, trace_lineage
from orchestrator.report.methods import Cell, Methods, find_methods, with_model
from orchestrator.report.mistakes import Confusion, WorstItem, confusion_of, worst_items
from orchestrator.report.plots import SERIES, Panel, draw, plotting
from orchestrator.report.reading import History, TaskItems
from orchestrator.report.rendering import baseline_columns, render_page
from orchestrator.report.table_files import write_tables
from orchestrator.terminal.table import headings, result_cells, title
from orchestrator.trial_journal import read_events

FOLDER = "report"


@dataclass(slots=True)
class TaskPart:
    """What the page shows of one task.

    Attributes:
        name: Of the task.
        curves: Learning curves, as SVG.
        spending: Accuracy against tokens, as SVG; None before any test.
        winner: The trained trial that is best on dev, of the method that is best on dev.
        lineage: How its network came about.
        confusion: Which label that method took for which.
        worst: The items most often wrong.
    """

    name: str
    curves: list[Markup] = field(default_factory=list)
    spending: Markup | None = None
    winner: tuple[Cell, PlannedTrial] | None = None
    lineage: Lineage | None = None
    confusion: Confusion | None = None
    worst: list[WorstItem] = field(default_factory=list)


def write_report(plan: Plan, results: SweepResults, compare_url: str | None) -> None:
    """Write ``report.html``, which loads nothing, and ``report/`` with its figures and tables.

    Blocks, for seconds with hundreds of trials: it belongs in a thread.

    Args:
        plan: The sweep.
        results: Its rows and reference points.
        compare_url: MLflow's page that compares the runs, if known.

    Raises:
        JournalError: If the journals cannot be read or the file system refuses.
    """
    folder = plan.out_dir / FOLDER
    before = _figures_in(folder)
    with journal_errors(folder):
        folder.mkdir(exist_ok=True)
    journal, methods = Journal(plan.out_dir), find_methods(results.trials, results.summaries)
    histories, items = _read(journal, results, methods)
    references = _references(results, methods)
    write_tables(folder, methods, references)
    contests = contest_all(results, methods, _sources(items))
    with plotting():
        parts = [_part(task, methods, histories, folder) for task in methods.tasks]
    for part in parts:
        _add_winner(part, methods, journal, items[part.name])
    page = render_page(
        "report.html.j2",
        compare_url=compare_url,
        methods=methods,
        colors={name: index % len(SERIES) for index, name in enumerate(methods.names)},
        references=references,
        reference_names=list(dict.fromkeys(n for row in references.values() for n in row)),
        contests=contests,
        pairs=[list(pair) for _, pair in groupby(contests.found, _pair_of)],
        parts=parts,
        lost=_lost(results, histories),
        **_of_trials(plan, results),
    )
    write_atomic(plan.out_dir / "report.html", page)
    # Figures of tasks that the sweep no longer has would look as if they belonged to it.
    with journal_errors(folder):
        for path, written_at in _figures_in(folder).items():
            if before.get(path) == written_at:
                path.unlink()


def _figures_in(folder: Path) -> dict[Path, int]:
    """The plots in a folder, with when they were written."""
    paths = [*folder.glob("*.svg"), *folder.glob("*.png")]
    return {path: path.stat().st_mtime_ns for path in paths}


def _of_trials(plan: Plan, results: SweepResults) -> dict[str, Any]:
    """What the page tells of the trials and reference points one by one, and of all together."""
    columns = baseline_columns(results)
    return {
        "sweep": plan.sweep,
        "totals": _totals(results),
        "plan_rows": compare(plan, results.summaries),
        "failures": _failures(results),
        "looks": _looks(results),
        "title": title(results),
        "headings": headings(results),
        "rows": result_cells(results),
        "baseline_headings": columns,
        "baselines": [[_shown(row[name]) for name in columns] for row in results.baselines],
    }


def _read(
    journal: Journal, results: SweepResults, methods: Methods
) -> tuple[dict[str, History], dict[str, TaskItems]]:
    """Go through all journals once."""
    shown = {
        trial.trial_id: cell.method for cell in methods.chosen.values() for trial, _ in cell.trials
    }
    histories: dict[str, History] = {}
    items = {task: TaskItems() for task in methods.tasks}
    for trial in results.trials:
        history = histories[trial.trial_id] = History()
        predictions: list[dict[str, Any]] = []
        for event in _events(journal, trial.trial_id):
            history.add(event)
            if event["kind"] == "finish":
                predictions = event["predictions"]
        if trial.trial_id in shown and results.summaries[trial.trial_id].test is not None:
            items[trial.settings.task.name].add(shown[trial.trial_id], predictions)
    return histories, items


def _events(journal: Journal, trial_id: str) -> Iterator[dict[str, Any]]:
    folder = journal.folder(trial_id)
    state = read_json(folder / "state.json") or {"num_events": 0}
    return read_events(folder, 0, state["num_events"])


def _sources(items: dict[str, TaskItems]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        task: {key: {"group": item.group} for key, item in found.items.items() if item.group}
        for task, found in items.items()
    }


def _references(results: SweepResults, methods: Methods) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {task: {} for task in methods.tasks}
    for trial in results.trials:
        for name, value in results.comparisons[trial.trial_id].references.items():
            found[trial.settings.task.name].setdefault(with_model(name, trial), value)
    return found


def _part(task: str, methods: Methods, histories: dict[str, History], folder: Path) -> TaskPart:
    def drawn(panel: Panel) -> Markup:
        # The SVG is ours: names in it were escaped when it was written.
        return Markup(draw(panel, folder))

    spending = spending_panel(task, methods)
    return TaskPart(
        name=task,
        curves=[drawn(panel) for panel in curve_panels(task, methods, histories)],
        spending=None if spending is None else drawn(spending),
    )


def _add_winner(part: TaskPart, methods: Methods, journal: Journal, items: TaskItems) -> None:
    part.worst = worst_items(items, methods.names)
    best = methods.best_on_dev(part.name)
    if best is None:
        return
    trial = best.best_trial
    part.winner = (best, trial)
    part.lineage = trace_lineage(_events(journal, trial.trial_id))
    part.confusion = confusion_of(items, best.method)


def _pair_of(contest: Contest) -> tuple[str, str]:
    return contest.before, contest.after


def _totals(results: SweepResults) -> dict[str, Any]:
    summaries = [results.summaries[trial.trial_id] for trial in results.trials]
    costs = [summary.cost_usd for summary in summaries]
    return {
        "trials": len(summaries),
        "finished": sum(summary.status == "finished" for summary in summaries),
        "failed": sum(summary.status == "failed" for summary in summaries),
        "tokens": sum(summary.tokens for summary in summaries),
        "cost_usd": None if None in costs else sum(cost or 0.0 for cost in costs),
    }


def _lost(results: SweepResults, histories: dict[str, History]) -> list[tuple[str, str, int, str]]:
    return [
        (trial.name, name, number, reason)
        for trial in results.trials
        for name, (number, reason) in histories[trial.trial_id].lost.items()
    ]


def _failures(results: SweepResults) -> list[tuple[str, str]]:
    found = ((trial.name, results.summaries[trial.trial_id].error) for trial in results.trials)
    return [(name, error) for name, error in found if error]


def _looks(results: SweepResults) -> list[tuple[str, int]]:
    found = ((trial.name, results.summaries[trial.trial_id]) for trial in results.trials)
    return [(name, summary.test_looks) for name, summary in found if summary.test_looks > 1]


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
