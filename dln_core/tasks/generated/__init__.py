"""Tasks of our own: no download, as many items as wanted, and answers that are known for sure."""

from __future__ import annotations

from collections.abc import Mapping

from dln_core.tasks.cards import Card
from dln_core.tasks.generated import grammar, stock_count
from dln_core.tasks.sources import DataReader
from dln_core.types import Splits


def files(name: str) -> tuple[str, ...]:
    """Return the data files that a generated task reads: none."""
    return ()


def read(card: Card, reader: DataReader) -> Splits:
    """Return a generated task's splits, the same on every machine."""
    return _from_lexicon(card) if _has_lexicon(card) else _puzzles(card)


def outline(card: Card) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Return the sizes of train, dev and test and the labels, without making all of the items."""
    if _has_lexicon(card):
        splits = _from_lexicon(card)
        return (len(splits.train), len(splits.dev), len(splits.test)), card.labels
    from dln_core.tasks.generated.puzzles import SIZES

    (example,) = _puzzles(card, {"train": 1}).train
    return (SIZES["train"], SIZES["dev"], SIZES["test"]), example.labels


def _has_lexicon(card: Card) -> bool:
    return card.name == stock_count.NAME or card.name in grammar.NAMES


def _from_lexicon(card: Card) -> Splits:
    if card.name == stock_count.NAME:
        return stock_count.generate(card.name)
    return grammar.generate(card.name, card.labels)


def _puzzles(card: Card, sizes: Mapping[str, int] | None = None) -> Splits:
    # It brings NumPy, which a mistaken setting need not pay for.
    from dln_core.tasks.generated import puzzles

    return puzzles.generate(card.name, card.labels, sizes or puzzles.SIZES)
