"""Endless, disjoint splits of the tasks that have a solver.

Which split a problem serves is decided by the problem itself: its hash says train, dev or test.  So
no problem stands in two splits, however many items are drawn, from whatever seed, at whatever
level.  A longer split begins like a shorter one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dln_core.errors import DataError
from dln_core.tasks.bbh import with_options
from dln_core.tasks.generated import (
    adjectives,
    arithmetic,
    belongings,
    dates,
    free_time,
    house_rules,
    open_brackets,
    rankings,
    sorted_words,
    swaps,
    truth_tellers,
    truth_values,
    walks,
)
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level
from dln_core.tasks.splits import rank
from dln_core.types import Example, Splits

Draw = Callable[[Dice, Level], Item]

FAMILIES: dict[str, Draw] = {
    "adjectives": adjectives.draw,
    "arithmetic": arithmetic.draw,
    "belongings": belongings.draw,
    "dates": dates.draw,
    "free_time": free_time.draw,
    "house_rules": house_rules.draw,
    "open_brackets": open_brackets.draw,
    "rankings": rankings.draw,
    "sorted_words": sorted_words.draw,
    "swaps": swaps.draw,
    "truth_tellers": truth_tellers.draw,
    "truth_values": truth_values.draw,
    "walks": walks.draw,
}
SEED = 20240618
SIZES = {"train": 200, "dev": 100, "test": 250}

# How often a problem serves each split: about as the sizes are, so that few are drawn in vain.
_SERVES = ("train",) * 4 + ("dev",) * 2 + ("test",) * 5
# So many draws in a row without a new problem tell that there are none left.
_MOST_DRAWS_IN_VAIN = 10_000


def family_and_level(name: str) -> tuple[str, Level]:
    """Take a task's name apart: ``walks_hard`` is the family ``walks`` at level hard.

    A name without a level means medium.
    """
    family, _, level = name.rpartition("_")
    return (family, Level(level)) if level in set(Level) else (name, Level.medium)


def generate(
    name: str, labels: tuple[str, ...], sizes: Mapping[str, int] = SIZES, seed: int = SEED
) -> Splits:
    """Return the splits of a task.

    Each label is right once in each run of as many examples, be it shared or an option's letter.

    Args:
        name: Name of the task.
        labels: The answers, where all items share them.
        sizes: Items of train, dev and test; a split that is not named stays empty.
        seed: Chooses among the endless items.

    Raises:
        DataError: If the task has fewer different problems than are asked for.
    """
    family, level = family_and_level(name)
    dice = Dice(seed, name)
    parts = {
        split: _Part(split, size, labels, Dice(seed, f"{name} {split}"))
        for split, size in sizes.items()
    }
    num_in_vain = 0
    while not all(part.is_full for part in parts.values()):
        item = FAMILIES[family](dice, level)
        part = parts.get(_split_of(family, item))
        is_taken = part is not None and part.take(item)
        num_in_vain = 0 if is_taken else num_in_vain + 1
        if num_in_vain > _MOST_DRAWS_IN_VAIN:
            found = ", ".join(f"{len(part.examples)} for {split}" for split, part in parts.items())
            raise DataError(
                f"task {name} has too few different items ({found} were found); ask for fewer"
            )
    return Splits(**{split: tuple(part.examples) for split, part in parts.items()})


def _split_of(family: str, item: Item) -> str:
    """Return the split that a problem serves, the same at all levels."""
    return _SERVES[rank(family, item.source)[0] % len(_SERVES)]


class _Part:
    """A split while it is filled."""

    def __init__(self, split: str, size: int, labels: tuple[str, ...], dice: Dice) -> None:
        self.examples: list[Example] = []
        self._split, self._size, self._labels, self._dice = split, size, labels, dice
        self._sources: set[str] = set()
        # Labels that were not right yet in the present run of examples.
        self._due: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self.examples) >= self._size

    def take(self, item: Item) -> bool:
        """Add an item, unless the split is full, has its problem or is not due for its label."""
        if self.is_full or item.source in self._sources:
            return False
        self._due = self._due or self._dice.shuffled(self._labels or _letters(item))
        right = self._due[0] if item.wrong else item.target
        if self._due:
            if right not in self._due:
                return False
            self._due.remove(right)
        self._sources.add(item.source)
        self.examples.append(self._example(item, right))
        return True

    def _example(self, item: Item, right: str) -> Example:
        """Make an example whose answer is the label, the letter or the text ``right``."""
        text, labels = item.text, self._labels
        if item.wrong:
            labels = _letters(item)
            options = self._dice.shuffled(item.wrong)
            options.insert(labels.index(right), item.target)
            text = with_options(text, options)
        return Example(
            id=f"{self._split}-{len(self.examples)}",
            input=text,
            target=right,
            labels=labels,
            source=item.source,
        )


def _letters(item: Item) -> tuple[str, ...]:
    """Return the letters of the options that an item prints; none if it prints none."""
    num_options = len(item.wrong) + 1 if item.wrong else 0
    return tuple(f"({chr(ord('A') + place)})" for place in range(num_options))
