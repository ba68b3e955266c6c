"""Paired tests between methods, on the same test items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from dln_core.metrics import Difference, difference, judged
from dln_core.stats import holm
from orchestrator.comparison import SweepResults
from orchestrator.report.methods import Methods, with_model
from orchestrator.terminal.table import SIGNIFICANCE

INITIAL = "initial prompt"
# With more methods each is compared with the best on dev alone.
MOST_ALL_PAIRS = 6

Items = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Two methods on the test items of one task.

    Attributes:
        task: Name of the task.
        before: The one.
        after: The other, whose lead is counted.
        difference: By how much it leads.
        adjusted_p: The p-value, adjusted for the tasks on which the two are compared.
        num_items: Test items.
        test: Name of the test.
    """

    task: str
    before: str
    after: str
    difference: Difference
    adjusted_p: float
    num_items: int
    test: str

    @property
    def is_significant(self) -> bool:
        """Whether the two differ, with all tasks in view."""
        return self.adjusted_p < SIGNIFICANCE

    @property
    def verdict(self) -> str:
        """What can be said, in words."""
        if not self.is_significant:
            return "no significant difference"
        return f"{self.after if self.difference.value > 0 else self.before} is better"


@dataclass(frozen=True, slots=True)
class Contests:
    """All contests, and for what pairs there is none."""

    found: tuple[Contest, ...]
    skipped: tuple[str, ...]


def contest_all(results: SweepResults, methods: Methods, sources: Mapping[str, Items]) -> Contests:
    """Compare the chosen settings of the methods, pair by pair, on each task.

    Args:
        results: The trials and the reference points.
        methods: What was chosen on dev.
        sources: By task, the source of each test item under ``group``, by its id.
    """
    runs = {task: _runs(results, methods, task) for task in methods.tasks}
    metrics = {cell.task: cell.metric for cell in methods.cells}
    found: list[Contest] = []
    skipped: list[str] = []
    for before, after in _pairs(methods, runs):
        family: list[Contest] = []
        for task in (name for name in methods.tasks if {before, after} <= runs[name].keys()):
            sides = (runs[task][before], runs[task][after])
            clusters = {
                name: str(sources[task].get(name, {}).get("group", name)) for name in sides[0][0]
            }
            refusal = _refusal(sides, clusters)
            if refusal:
                skipped.append(f"{before} and {after} on {task}: {refusal}")
            else:
                outcome, test = _compare(metrics[task], sides, clusters)
                family.append(
                    Contest(
                        task=task, before=before, after=after, difference=outcome,
                        adjusted_p=outcome.p_value, num_items=len(clusters), test=test,
                    )
                )  # fmt: skip
        adjusted = holm([contest.difference.p_value for contest in family])
        found += [replace(one, adjusted_p=p) for one, p in zip(family, adjusted, strict=True)]
    return Contests(tuple(found), tuple(skipped))


def _refusal(sides: Sequence[Sequence[Items]], clusters: Mapping[str, str]) -> str | None:
    """Tell why two methods cannot be compared, if so."""
    if any(run.keys() != clusters.keys() for side in sides for run in side):
        return "not the same test items"
    return "all items share one source" if len(set(clusters.values())) < 2 else None


def _compare(
    metric: str, sides: Sequence[Sequence[Items]], clusters: Mapping[str, str]
) -> tuple[Difference, str]:
    before, after = ([[run[name] for name in clusters] for run in side] for side in sides)
    outcome = difference(metric, before, after, list(clusters.values()))
    return outcome, _test_name(metric, sides, outcome.num_clusters < len(clusters))


def _runs(results: SweepResults, methods: Methods, task: str) -> dict[str, list[Items]]:
    """The judged test items of each method, a table a seed, by their ids."""
    runs: dict[str, list[Items]] = {}
    cells = [cell for (name, _), cell in methods.chosen.items() if name == task]
    for cell in cells:
        comparisons = (results.comparisons[trial.trial_id] for trial, _ in cell.trials)
        before = next((each.before for each in comparisons if each.before is not None), None)
        trial = cell.trials[0][0]
        # A zero-shot network is the initial prompt: the two would be compared twice.
        if before is not None and with_model("zero_shot", trial) not in methods.names:
            items = {item["id"]: judged(item) for item in before["predictions"]}
            runs.setdefault(with_model(INITIAL, trial), [items])
    for cell in cells:
        if cell.values:
            runs[cell.method] = [summary.items for _, summary in cell.tested]
    return runs


def _pairs(
    methods: Methods, runs: Mapping[str, Mapping[str, Sequence[Items]]]
) -> list[tuple[str, str]]:
    tested = dict.fromkeys(name for table in runs.values() for name in table)
    initial = [name for name in tested if name not in methods.names]
    names = [*initial, *(name for name in methods.names if name in tested)]
    if len(names) <= MOST_ALL_PAIRS:
        return list(combinations(names, 2))
    best = max(names, key=lambda name: _dev_of(methods, name))
    return [(name, best) for name in names if name != best]


def _dev_of(methods: Methods, name: str) -> float:
    cells = (methods.chosen.get((task, name)) for task in methods.tasks)
    return sum(cell.dev or 0.0 for cell in cells if cell is not None and cell.values)


def _test_name(metric: str, sides: Sequence[Sequence[Items]], has_sources: bool) -> str:
    if metric != "accuracy":
        return "swaps of sources" if has_sources else "swaps of items"
    if has_sources:
        return "exact, source by source"
    return "exact McNemar" if all(len(side) == 1 for side in sides) else "exact, item by item"
