"""Cutting a pool of examples into disjoint parts, the same way on every machine.

The order of examples comes from a hash of the task's name and the example's text.  That is a
sample without replacement which needs no random state and does not move when a file is reordered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import orjson

from dln_core.types import Example, Splits

Key = Callable[[Example], str]


def normalized(text: str) -> str:
    """Return the text with every run of white space made one space."""
    return " ".join(text.split())


def group_key(example: Example) -> str:
    """Return what must not be shared between splits: the source, else the input itself."""
    return example.source or normalized(example.input)


def rank(task: str, text: str) -> bytes:
    """Return the place of a text in the task's fixed order."""
    return hashlib.sha256(f"{task}\n{text}".encode()).digest()


def in_fixed_order(task: str, examples: Iterable[Example]) -> list[Example]:
    """Return the examples in the task's fixed order, which looks random."""
    return sorted(examples, key=lambda example: (rank(task, normalized(example.input)), example.id))


def distinct(examples: Iterable[Example]) -> list[Example]:
    """Keep the first of the examples whose inputs differ in white space alone."""
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(normalized(example.input), example)
    return list(first.values())


def without(
    pool: Iterable[Example], taken: Iterable[Example], key: Key = group_key
) -> list[Example]:
    """Drop the examples that share their key or their text with one that is taken elsewhere."""
    taken = list(taken)
    keys = {key(example) for example in taken}
    texts = {normalized(example.input) for example in taken}
    return [e for e in pool if key(e) not in keys and normalized(e.input) not in texts]


def carve(
    task: str, pool: Sequence[Example], sizes: Sequence[int], key: Key = group_key
) -> list[tuple[Example, ...]]:
    """Cut a pool into parts without tearing a group of examples apart.

    Groups are met in the task's fixed order; each goes to the first part that still has room for
    all of it.

    Args:
        task: Name that the order is derived from.
        pool: The examples to share out.
        sizes: Wanted size of each part but the last.
        key: Names the group of an example.

    Returns:
        One tuple a size, then one with all that is left; a part is smaller than wanted only when
        the pool has too little that fits.
    """
    groups: dict[str, list[Example]] = {}
    for example in pool:
        groups.setdefault(key(example), []).append(example)
    parts: list[list[Example]] = [[] for _ in range(len(sizes) + 1)]
    for name in sorted(groups, key=lambda name: rank(task, name)):
        group = groups[name]
        room = (i for i, size in enumerate(sizes) if len(parts[i]) + len(group) <= size)
        parts[next(room, len(sizes))].extend(group)
    return [tuple(in_fixed_order(task, part)) for part in parts]


def truncated(
    splits: Splits, max_train: int | None, max_dev: int | None, max_test: int | None
) -> Splits:
    """Keep the first examples of each split; None keeps all."""
    return Splits(
        train=splits.train[:max_train], dev=splits.dev[:max_dev], test=splits.test[:max_test]
    )


def digest(splits: Splits, answer_kind: str) -> str:
    """Return the SHA-256 (hex) of all that a result depends on: items, their order, the judge."""
    content = {
        "judge": answer_kind,
        "splits": {
            name: [[e.id, e.input, e.target, list(e.labels)] for e in getattr(splits, name)]
            for name in ("train", "dev", "test")
        },
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
