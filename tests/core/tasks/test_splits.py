"""Cutting pools into splits: nothing torn, nothing lost, nothing shared."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.splits import carve, distinct, group_key, normalized, without
from dln_core.types import Example

GROUPED = st.lists(st.integers(0, 12), max_size=60).map(
    lambda groups: [
        Example(id=str(i), input=f"item {i}", target="x", source=f"group {group}")
        for i, group in enumerate(groups)
    ]
)
SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=3)


@given(GROUPED, SIZES)
def test_carving_keeps_every_example_once_and_tears_no_group(pool, sizes):
    parts = carve("task", pool, sizes)
    assert Counter(e for part in parts for e in part) == Counter(pool)
    homes = {group_key(e): {i for i, part in enumerate(parts) if e in part} for e in pool}
    assert all(len(home) == 1 for home in homes.values())
    assert all(len(part) <= size for part, size in zip(parts, sizes, strict=False))


@given(GROUPED, SIZES, st.randoms(use_true_random=False))
def test_carving_does_not_depend_on_the_order_of_the_file(pool, sizes, random):
    moved = list(pool)
    random.shuffle(moved)
    assert carve("task", moved, sizes) == carve("task", pool, sizes)


def test_single_examples_fill_their_parts_exactly():
    pool = [Example(id=str(i), input=f"item {i}", target="x") for i in range(100)]
    assert [len(part) for part in carve("task", pool, (50, 30))] == [50, 30, 20]


def test_each_task_has_an_order_of_its_own():
    pool = [Example(id=str(i), input=f"item {i}", target="x") for i in range(100)]
    assert carve("one", pool, (50,)) != carve("other", pool, (50,))


def test_inputs_that_differ_in_white_space_alone_are_one():
    pool = [Example(id=i, input=text, target="x") for i, text in (("0", "a  b"), ("1", " a\nb "))]
    assert [example.id for example in distinct(pool)] == ["0"]
    assert without(pool[:1], pool[1:]) == []
    assert normalized(" a\n b") == "a b"


def test_examples_that_share_a_source_with_a_taken_one_are_dropped():
    pool = [Example(id=str(i), input=f"{i}", target="x", source=f"s{i % 2}") for i in range(4)]
    assert [example.id for example in without(pool, [pool[0]])] == ["1", "3"]
