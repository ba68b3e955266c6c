"""What all tasks with a solver promise at every level: splits, labels, sizes, judges."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dln_core.config import DataConfig, TaskConfig
from dln_core.errors import DataError
from dln_core.tasks import Task, load_task, task_names
from dln_core.tasks.generated import puzzles
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level
from dln_core.tasks.registry import find_card
from dln_core.tasks.splits import normalized
from tests.core.tasks.bbh_items import options_of

NAMES = [name for name in task_names() if puzzles.family_and_level(name)[0] in puzzles.FAMILIES]
SPLITS = ("train", "dev", "test")
names = pytest.mark.parametrize("name", NAMES)


def drawn(name: str, split: str, count: int, seed: int = puzzles.SEED):
    """Return the first examples of a split."""
    splits = puzzles.generate(name, find_card(name).labels, {split: count}, seed)
    return list(getattr(splits, split))


def test_every_family_is_in_the_catalogue_at_every_level():
    expected = {
        f"{family}{level}" for family in puzzles.FAMILIES for level in ("", "_easy", "_hard")
    }
    assert set(NAMES) == expected


@pytest.mark.parametrize(
    ("name", "family", "level"),
    [
        ("walks", "walks", Level.medium),
        ("walks_easy", "walks", Level.easy),
        ("free_time", "free_time", Level.medium),
        ("free_time_hard", "free_time", Level.hard),
    ],
)
def test_a_name_tells_family_and_level(name, family, level):
    assert puzzles.family_and_level(name) == (family, level)


@cache
def loaded(name: str) -> Task:
    return load_task(TaskConfig(name=name), DataConfig())


@names
def test_a_task_has_its_sizes(name):
    assert [len(getattr(loaded(name).splits, split)) for split in SPLITS] == [200, 100, 250]
    assert list(loaded(name).splits.dev[:7]) == drawn(name, "dev", 7)


@names
def test_a_longer_split_begins_like_a_shorter_one(name):
    assert drawn(name, "train", 40)[:15] == drawn(name, "train", 15)


@names
@settings(max_examples=5)
@given(seeds=st.tuples(*[st.integers(0, 2**32)] * 3))
def test_splits_are_disjoint_whatever_their_seeds(name, seeds):
    parts = [drawn(name, split, 12, seed) for split, seed in zip(SPLITS, seeds, strict=True)]
    for key in (lambda e: e.source, lambda e: normalized(e.input)):
        for part in parts:
            assert len({key(example) for example in part}) == len(part)
        for one, other in combinations(parts, 2):
            assert not {key(e) for e in one} & {key(e) for e in other}


@pytest.mark.parametrize("family", sorted(puzzles.FAMILIES))
def test_no_problem_of_one_level_serves_another_split_at_another_level(family):
    split_of = {}
    for level in ("_easy", "", "_hard"):
        for split in SPLITS:
            for example in drawn(family + level, split, 100):
                assert split_of.setdefault(example.source, split) == split


@names
def test_another_seed_gives_other_items(name):
    assert drawn(name, "test", 5, seed=1) != drawn(name, "test", 5, seed=2)


@names
def test_each_label_is_right_once_in_every_run_of_examples(name):
    for split in SPLITS:
        part = getattr(loaded(name).splits, split)
        targets = [example.target for example in part]
        num_labels = len(part[0].labels)
        for start in range(0, len(part) - num_labels, num_labels or len(part)):
            assert sorted(targets[start : start + num_labels]) == sorted(part[0].labels)


@names
def test_no_free_answer_is_right_often(name):
    test = loaded(name).splits.test
    if not test[0].labels:
        ((_, most),) = Counter(example.target for example in test).most_common(1)
        assert most <= 0.2 * len(test)


@names
def test_printed_options_differ_and_hold_the_target(name):
    for example in loaded(name).splits.test:
        options = options_of(example.input)
        assert len(set(options.values())) == len(options)
        if options:
            assert tuple(options) == example.labels
            assert example.target in options


@names
def test_the_judge_accepts_the_target_and_refuses_every_other_answer(name):
    task = loaded(name)
    test = task.splits.test[:30]
    for example in test:
        assert task.judge(example.target, example.target)
        for other in {*(e.target for e in test), *example.labels} - {example.target}:
            assert not task.judge(other, example.target), (other, example.target)


@names
def test_few_draws_are_in_vain(name, monkeypatch):
    """Loading takes a bounded number of draws, so its time does not hang on luck."""
    family, _ = puzzles.family_and_level(name)
    draw, count = puzzles.FAMILIES[family], 0

    def counted(dice: Dice, level: Level) -> Item:
        nonlocal count
        count += 1
        return draw(dice, level)

    monkeypatch.setitem(puzzles.FAMILIES, family, counted)
    puzzles.generate(name, find_card(name).labels)
    assert 550 < count < 550 * 3


def test_an_exhausted_task_says_so(monkeypatch):
    few = [Item(text=str(n), target="Yes", source=str(n)) for n in range(5)]
    monkeypatch.setitem(puzzles.FAMILIES, "walks", lambda dice, level: dice.pick(few))
    with pytest.raises(DataError, match=r"task walks has too few different items"):
        puzzles.generate("walks", ("Yes",))


def test_dice_come_out_as_they_always_did():
    dice = Dice(7, "a purpose")
    assert [dice.below(100) for _ in range(6)] == [63, 3, 20, 35, 51, 0]
    assert dice.sample("abcdef", 3) == ["e", "b", "c"]


@given(st.integers(0, 2**63), st.lists(st.integers(), max_size=20), st.data())
def test_a_sample_takes_every_place_at_most_once(seed, values, data):
    count = data.draw(st.integers(0, len(values)))
    chosen = Dice(seed, "sample").sample(list(enumerate(values)), count)
    assert len(set(chosen)) == count
    assert set(chosen) <= set(enumerate(values))


@given(st.integers(0, 2**63), st.integers(-50, 50), st.integers(0, 50))
def test_draws_lie_between_their_bounds(seed, low, width):
    dice = Dice(seed, "between")
    assert all(low <= dice.between(low, low + width) <= low + width for _ in range(20))


def test_items_are_the_same_in_every_process():
    code = (
        "from dln_core.tasks.generated import puzzles\n"
        "for family in puzzles.FAMILIES:\n"
        "    print(puzzles.generate(family + '_hard', (), {'test': 3}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_items_stay_what_they_were():
    """Trials are named by their items: a change of wording, too, gives every trial a new name."""
    told = hashlib.sha256()
    for name in NAMES:
        for example in drawn(name, "train", 5):
            told.update(f"{example.input}\n{example.target}\n".encode())
    assert told.hexdigest()[:16] == "b55e39e2564edee4"
