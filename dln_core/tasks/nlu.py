"""The nine tasks of the DLN paper, with the split sizes that its text states.

Four come from BIG-bench, with BBH's items as test; three from the Ordered-Prompt repository; two
from Leopard.  Where the published splits overlap, ours drop the overlap from train and dev.

Source: Sordani et al. 2023, arXiv 2306.12509v2, appendix on data.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from dln_core.tasks import bbh, bigbench
from dln_core.tasks.cards import Card
from dln_core.tasks.sources import DataReader
from dln_core.tasks.splits import carve, distinct, in_fixed_order, without
from dln_core.types import Example, Splits


@dataclass(frozen=True, slots=True)
class _Sizes:
    train: int
    dev: int
    test: int = 250


_SIZES = {
    "hyperbaton": _Sizes(400, 1000),
    "navigate": _Sizes(375, 375),
    "date_understanding": _Sizes(59, 60),
    "logical_deduction_seven_objects": _Sizes(225, 225),
    "mpqa": _Sizes(400, 256),
    "trec": _Sizes(400, 256),
    "subj": _Sizes(400, 256),
    "disaster": _Sizes(400, 250),
    "airline": _Sizes(400, 250),
}
NAMES = tuple(_SIZES)
# The public data names classes by number; the words were read off the items.
_ORDERED_PROMPT_LABELS = {
    "mpqa": ("Negative", "Positive"),
    "subj": ("Subjective", "Objective"),
    "trec": ("Description", "Entity", "Abbreviation", "Human", "Location", "Number"),
}
_ORDERED_PROMPT_FILES = ("train", "dev_subsample", "test")
_LEOPARD = ("disaster", "airline")


def collection(name: str) -> str:
    """Return the collection that a task's train and dev items come from."""
    if name in _ORDERED_PROMPT_LABELS:
        return "ordered-prompt"
    return "leopard" if name in _LEOPARD else "big-bench"


def files(name: str) -> tuple[str, ...]:
    """Return the data files that a task reads."""
    if name in _ORDERED_PROMPT_LABELS:
        return tuple(f"ordered-prompt/data/{name}/{part}.jsonl" for part in _ORDERED_PROMPT_FILES)
    if name in _LEOPARD:
        return (f"leopard/data/json/{name}/{name}_eval.json",)
    return (bigbench.path_of(name), bbh.path_of(name))


def read(card: Card, reader: DataReader) -> Splits:
    """Return the paper's split of a task, without its overlaps."""
    if card.name in _ORDERED_PROMPT_LABELS:
        return _ordered_prompt(card, reader)
    if card.name in _LEOPARD:
        return _leopard(card, reader)
    return _big_bench(card, reader)


def _big_bench(card: Card, reader: DataReader) -> Splits:
    sizes = _SIZES[card.name]
    test = [bigbench.as_test_item(card.name, item) for item in bbh.read_items(card, reader)]
    wanted = sizes.train + sizes.dev
    # Converting all 50,000 hyperbaton items would take seconds; at most `test` of these overlap.
    items = bigbench.read_items(card, reader, at_most=wanted + 2 * sizes.test)
    pool = without(distinct(items), test)
    key = bigbench.GROUP_KEYS[card.name]
    if len(pool) >= wanted:
        train, dev, _ = carve(card.name, pool, (sizes.train, sizes.dev), key)
    else:
        dev, train = carve(card.name, pool, (len(pool) * sizes.dev // wanted,), key)
    return Splits(train=train, dev=dev, test=tuple(in_fixed_order(card.name, test)))


def ordered_prompt_items(card: Card, reader: DataReader) -> list[list[Example]]:
    """Return the published train, dev and test files, each in its order."""
    words = _ORDERED_PROMPT_LABELS[card.name]
    parts = []
    for part, path in zip(_ORDERED_PROMPT_FILES, files(card.name), strict=True):
        rows = (orjson.loads(line) for line in reader.read(path).splitlines() if line)
        parts.append(
            [
                Example(
                    id=f"{part}-{index}",
                    input=row["sentence"],
                    target=words[int(row["label"])],
                    labels=card.labels,
                )
                for index, row in enumerate(rows)
            ]
        )
    return parts


def leopard_items(card: Card, reader: DataReader) -> list[Example]:
    """Return the items of a Leopard file in its order."""
    (path,) = files(card.name)
    return [
        Example(
            id=f"leopard-{index}",
            input=row["sentence1"],
            target=row["label"].capitalize(),
            labels=card.labels,
        )
        for index, row in enumerate(orjson.loads(reader.read(path)))
    ]


def _ordered_prompt(card: Card, reader: DataReader) -> Splits:
    sizes = _SIZES[card.name]
    train_pool, dev_pool, test_pool = map(distinct, ordered_prompt_items(card, reader))
    # The published dev set is a sample of the test file: test takes what dev leaves of it, and only
    # where that is too little does it take items back.
    fresh = in_fixed_order(card.name, without(test_pool, dev_pool))
    test = (fresh + in_fixed_order(card.name, dev_pool))[: sizes.test]
    dev = in_fixed_order(card.name, without(dev_pool, test))[: sizes.dev]
    train = in_fixed_order(card.name, without(train_pool, dev + test))[: sizes.train]
    return Splits(train=tuple(train), dev=tuple(dev), test=tuple(test))


def _leopard(card: Card, reader: DataReader) -> Splits:
    sizes = _SIZES[card.name]
    pool = distinct(leopard_items(card, reader))
    test, dev, train, _ = carve(card.name, pool, (sizes.test, sizes.dev, sizes.train))
    return Splits(train=train, dev=dev, test=test)
