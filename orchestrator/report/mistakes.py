"""Where networks err: which label is taken for which, and the items most often wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.reading import OTHER, Item, TaskItems

# Tasks with more targets are no tasks of labels.
MOST_LABELS = 12
WORST_ITEMS = 5
_AROUND = " .,:;!\"'`*()"


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label was answered for each target; the last label stands for all else."""

    method: str
    labels: tuple[str, ...]
    targets: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def share(self, row: int, column: int) -> float:
        """Share of a target's items that a label was answered for."""
        return self.counts[row][column] / max(1, sum(self.counts[row]))


@dataclass(frozen=True, slots=True)
class WorstItem:
    """An item that is often wrong."""

    id: str
    item: Item
    num_wrong: int
    num_asked: int

    @property
    def usual_answer(self) -> tuple[str, int]:
        """The wrong answer given most often, and how often."""
        return self.item.answers.most_common(1)[0]


def confusion_of(items: TaskItems, method: str) -> Confusion | None:
    """Count which label a method took for which; None if the task has no labels.

    Targets are labels where they are few and each stands for several items.
    """
    targets = sorted({item.target for item in items.items.values()})
    if not targets or len(targets) > MOST_LABELS or 2 * len(targets) > len(items.items):
        return None
    names = {_plain(target): target for target in targets}
    table: Counter[tuple[str, str]] = Counter()
    for (target, answer), number in items.confusion.get(method, Counter()).items():
        table[target, names.get(_plain(answer), OTHER)] += number
    if not table:
        return None
    has_other = any(label == OTHER for _, label in table) and OTHER not in targets
    labels = (*targets, OTHER) if has_other else tuple(targets)
    counts = tuple(tuple(table[target, label] for label in labels) for target in targets)
    return Confusion(method, labels, tuple(targets), counts)


def worst_items(items: TaskItems, methods: Sequence[str]) -> list[WorstItem]:
    """Find the items that these methods got wrong most often over their seeds."""
    counted = [
        WorstItem(
            name,
            item,
            sum(item.wrong[method] for method in methods),
            sum(item.asked[method] for method in methods),
        )
        for name, item in items.items.items()
    ]
    wrong = [each for each in counted if each.num_wrong]
    # The sort is stable: of equals those first in the test split.
    return sorted(wrong, key=lambda each: -each.num_wrong / each.num_asked)[:WORST_ITEMS]


def _plain(text: str) -> str:
    return text.strip(_AROUND).casefold()
