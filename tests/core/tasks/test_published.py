"""What the published splits share, what ours drop of it, and the public code's own membership."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dln_core.config import DataConfig, TaskConfig
from dln_core.errors import ConfigError
from dln_core.tasks import Task, bbh, bigbench, load_task, nlu, published
from dln_core.tasks.registry import find_card
from dln_core.tasks.sources import DataReader, data_folder
from dln_core.tasks.splits import distinct, normalized, without
from dln_core.types import Example

FROM_BIG_BENCH = (
    "hyperbaton",
    "navigate",
    "date_understanding",
    "logical_deduction_seven_objects",
)
ORDERED_PROMPT = ("mpqa", "trec", "subj")
CODE_SIZES = {
    "hyperbaton": (1000, 300, 250),
    "navigate": (375, 375, 250),
    "date_understanding": (59, 119, 250),
    "logical_deduction_seven_objects": (225, 225, 250),
    "mpqa": (1000, 256, 250),
    "trec": (1000, 256, 250),
    "subj": (1000, 256, 250),
    "disaster": (1000, 250, 250),
    "airline": (1000, 250, 250),
}
# Distinct inputs that train and dev, train and test, dev and test share in the public code.
CODE_LEAKS = {
    "hyperbaton": (0, 0, 0),
    "navigate": (0, 0, 0),
    "date_understanding": (59, 0, 0),
    "logical_deduction_seven_objects": (0, 0, 0),
    "mpqa": (21, 19, 47),
    "trec": (2, 1, 137),
    "subj": (0, 0, 24),
    "disaster": (3, 1, 1),
    "airline": (0, 0, 0),
}
# Items of the published train and dev files that stand in test or beside it too.
DROPPED_OF_BIG_BENCH = {"logical_deduction_seven_objects": 415}
DROPPED_OF_DEV = {"mpqa": 3, "trec": 6, "subj": 0}
REPEATS_IN_LEOPARD = {"disaster": 61, "airline": 56}


def load(name: str, split: str | None = None) -> Task:
    return load_task(TaskConfig(name=name, split=split), DataConfig())


def reader(name: str) -> DataReader:
    return DataReader(data_folder(None), name)


def texts(examples: Sequence[Example]) -> set[str]:
    return {normalized(example.input) for example in examples}


@pytest.mark.parametrize("name", nlu.NAMES)
def test_the_codes_split_has_its_sizes_and_its_leaks(name, data_dir):
    splits = load(name, "paper_code").splits
    assert (len(splits.train), len(splits.dev), len(splits.test)) == CODE_SIZES[name]
    train, dev, test = texts(splits.train), texts(splits.dev), texts(splits.test)
    assert (len(train & dev), len(train & test), len(dev & test)) == CODE_LEAKS[name]


@pytest.mark.parametrize("name", nlu.NAMES)
def test_the_codes_split_is_another_than_ours_and_tells_its_leaks(name, data_dir):
    theirs, ours = load(name, "paper_code"), load(name)
    assert theirs.digest != ours.digest
    assert all(f"{count} inputs" in theirs.notes for count in CODE_LEAKS[name])
    assert load(name, "paper").digest == ours.digest


@pytest.mark.parametrize("name", FROM_BIG_BENCH)
def test_each_bbh_item_has_one_twin_in_big_bench_and_no_more(name, data_dir):
    twins = [published.raw_key(name, item) for item in bigbench.raw_items(name, reader(name))]
    for example in bbh.read_items(find_card(name), reader(name)):
        assert twins.count(published.bbh_key(name, example.input)) == 1


@pytest.mark.parametrize("name", FROM_BIG_BENCH)
def test_what_we_drop_of_big_bench_is_what_asks_about_a_text_of_the_test_set(name, data_dir):
    items = bigbench.raw_items(name, reader(name))
    test = bbh.read_items(find_card(name), reader(name))
    tested = {published.bbh_key(name, example.input) for example in test}
    pool = [
        bigbench.as_bbh(name, index, item)
        for index, item in enumerate(items)
        if published.raw_key(name, item) not in tested
    ]
    kept = without(distinct(pool), [bigbench.as_test_item(name, example) for example in test])
    dropped = DROPPED_OF_BIG_BENCH.get(name, 0)
    assert len(pool) - len(kept) == dropped
    assert not dropped or str(dropped) in load(name).notes


@pytest.mark.parametrize("name", ORDERED_PROMPT)
def test_what_we_drop_of_the_published_dev_sets_is_counted(name, data_dir):
    _, dev, test = nlu.ordered_prompt_items(find_card(name), reader(name))
    splits = load(name).splits
    dropped = texts(dev) - texts(splits.dev)
    assert len(dev) - len(splits.dev) == DROPPED_OF_DEV[name]
    assert dropped <= texts(splits.test)
    assert texts(dev) <= texts(test)
    assert not DROPPED_OF_DEV[name] or str(DROPPED_OF_DEV[name]) in load(name).notes


@pytest.mark.parametrize("name", list(REPEATS_IN_LEOPARD))
def test_repeated_tweets_are_counted(name, data_dir):
    items = nlu.leopard_items(find_card(name), reader(name))
    assert len(items) - len(distinct(items)) == REPEATS_IN_LEOPARD[name]
    assert str(REPEATS_IN_LEOPARD[name]) in load(name).notes


def test_a_task_outside_the_paper_has_no_such_split():
    with pytest.raises(ConfigError, match=r"does not have triage; it has hyperbaton"):
        load("triage", "paper_code")
    with pytest.raises(ConfigError, match=r"task.split=papr is unknown.*paper, paper_code"):
        load("triage", "papr")
