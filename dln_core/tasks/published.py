"""The splits that the public code of the DLN paper makes, item by item, leaks included.

They serve comparisons with its results alone: dev and test share items, and train and dev of
``date_understanding`` are one.  Which items a split holds is reproduced; their wording is ours.

Source: the recipe of github.com/microsoft/deep-language-networks, ``dln/dataset.py``; its random
draws are those of numpy's legacy generator with seed 42.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dln_core.tasks import bbh, bigbench, nlu
from dln_core.tasks.cards import Card
from dln_core.tasks.sources import DataReader
from dln_core.tasks.splits import normalized
from dln_core.types import Example, Splits

_SEED = 42
_LARGEST = 1000
_TEST_SIZE = 250
_LEOPARD_DEV_SIZE = 250
_HYPERBATON_DEV_SIZE = 300


def read(card: Card, reader: DataReader) -> Splits:
    """Return the public code's split of one of the paper's nine tasks."""
    # The code draws from this legacy stream; another generator would give other items.
    random = np.random.RandomState(_SEED)
    match nlu.collection(card.name):
        case "ordered-prompt":
            train, dev, test = nlu.ordered_prompt_items(card, reader)
            train = _drawn(random, train, _LARGEST)
            return _splits(train, dev, _drawn(random, test, _TEST_SIZE))
        case "leopard":
            pool = nlu.leopard_items(card, reader)
            drawn = _drawn(random, pool, _LARGEST + _LEOPARD_DEV_SIZE + _TEST_SIZE)
            first_test = _LARGEST + _LEOPARD_DEV_SIZE
            return _splits(drawn[:_LARGEST], drawn[_LARGEST:first_test], drawn[first_test:])
        case _:
            return _big_bench(card, reader, random)


def shared(splits: Splits) -> str:
    """Tell how many inputs of one split stand in another too."""
    texts = {
        name: {normalized(example.input) for example in getattr(splits, name)}
        for name in ("train", "dev", "test")
    }
    counts = [
        f"{len(texts[one] & texts[other])} inputs of {other} in {one}"
        for one, other in (("train", "dev"), ("train", "test"), ("dev", "test"))
    ]
    return f"The public code's split, for comparison alone: {', '.join(counts)}."


def _big_bench(card: Card, reader: DataReader, random: np.random.RandomState) -> Splits:
    test = bbh.read_items(card, reader)
    tested = {bbh_key(card.name, example.input) for example in test}
    items = bigbench.raw_items(card.name, reader)
    pool = [i for i, item in enumerate(items) if raw_key(card.name, item) not in tested]
    random.shuffle(pool)
    num_train = min(_LARGEST, len(pool) // 2)
    num_dev = min(_LARGEST, len(pool) - len(pool) // 2)
    chosen = [bigbench.as_bbh(card.name, i, items[i]) for i in pool[: num_train + num_dev]]
    train, dev = chosen[:num_train], chosen[num_train:]
    if card.name == "hyperbaton":
        dev = dev[:_HYPERBATON_DEV_SIZE]
    if card.name == "date_understanding":
        dev = train + dev
    return _splits(train, dev, test)


def raw_key(name: str, item: dict[str, Any]) -> str:
    """Return what tells an item of BIG-bench from the others of its task."""
    match name:
        case "hyperbaton":
            return "\n".join(phrase.strip() for phrase in item["input"].split('"')[1::2])
        case "logical_deduction_seven_objects":
            return bigbench.as_bbh(name, 0, item).input
        case _:
            return str(item["input"])


def bbh_key(name: str, text: str) -> str:
    """Return what tells an item of BBH from the others, the same as for its BIG-bench twin."""
    question, _, options = text.partition("\nOptions:\n")
    match name:
        case "hyperbaton":
            return "\n".join(option.partition(") ")[2] for option in options.splitlines())
        case "logical_deduction_seven_objects":
            return text
        case "navigate":
            return question.removeprefix(f"{bigbench.NAVIGATE} ")
        case _:
            return question


def _drawn(random: np.random.RandomState, pool: Sequence[Example], size: int) -> list[Example]:
    return [pool[index] for index in random.choice(len(pool), size, replace=False)]


def _splits(train: Sequence[Example], dev: Sequence[Example], test: Sequence[Example]) -> Splits:
    return Splits(train=tuple(train), dev=tuple(dev), test=tuple(test))
