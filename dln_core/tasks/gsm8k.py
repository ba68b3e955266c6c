"""GSM8K: grade-school word problems with whole numbers as answers.

Source: Cobbe et al., "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168.  The
halving of the training file into train and dev follows the public code of Sordani et al. 2023.
"""

from __future__ import annotations

import orjson

from dln_core.tasks.cards import Card
from dln_core.tasks.sources import DataReader
from dln_core.tasks.splits import carve, distinct, in_fixed_order, without
from dln_core.types import Example, Splits

TRAIN_SIZE = 3736
DEV_SIZE = 3737

_FOLDER = "grade-school-math/grade_school_math/data"
_FILES = (f"{_FOLDER}/train.jsonl", f"{_FOLDER}/test.jsonl")


def files(name: str) -> tuple[str, ...]:
    """Return the data files that the task reads."""
    return _FILES


def read(card: Card, reader: DataReader) -> Splits:
    """Return half of the training file as train, half as dev, and the test file."""
    pool, test = (
        _examples(part, reader.read(path))
        for part, path in zip(("train", "test"), _FILES, strict=True)
    )
    train, dev, _ = carve(card.name, without(distinct(pool), test), (TRAIN_SIZE, DEV_SIZE))
    return Splits(train=train, dev=dev, test=tuple(in_fixed_order(card.name, test)))


def _examples(part: str, content: bytes) -> list[Example]:
    rows = (orjson.loads(line) for line in content.splitlines() if line)
    return [
        Example(
            id=f"{part}-{index}",
            input=row["question"],
            target=row["answer"].rpartition("####")[2].strip().replace(",", ""),
        )
        for index, row in enumerate(rows)
    ]
