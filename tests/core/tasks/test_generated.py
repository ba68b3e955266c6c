"""The generated tasks: balanced, disjoint by core sentence, and right by an independent solver."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from dln_core.config import DataConfig, TaskConfig
from dln_core.tasks import load_task
from dln_core.tasks.generated.grammar import lexicon

WITH_LEXICON = ("triage", "routing")


def splits_of(name):
    splits = load_task(TaskConfig(name=name), DataConfig()).splits
    return {"train": splits.train, "dev": splits.dev, "test": splits.test}


@pytest.mark.parametrize("name", WITH_LEXICON)
def test_labels_are_balanced_in_every_split(name):
    for part in splits_of(name).values():
        counts = Counter(example.target for example in part)
        assert set(counts) == set(part[0].labels)
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", WITH_LEXICON)
def test_every_core_makes_one_item_and_every_stem_serves_one_split(name):
    stems = {}
    cores = Counter()
    for split, part in splits_of(name).items():
        for example in part:
            cores[example.source] += 1
            stems.setdefault(example.source.partition("/")[0], set()).add(split)
    assert set(cores.values()) == {1}
    assert all(len(used) == 1 for used in stems.values())
    assert len(stems) == sum(len(stems) for stems in lexicon(name).stems.values())


@pytest.mark.parametrize("name", WITH_LEXICON)
def test_the_lexicon_fills_every_slot_with_distinct_words(name):
    words = lexicon(name)
    used = {
        slot for stems in words.stems.values() for s in stems for slot in re.findall(r"{(\w+)}", s)
    }
    assert used == set(words.slots)
    for fillers in words.slots.values():
        assert len(set(fillers)) == len(fillers) >= words.items_per_stem
    for label, stems in words.stems.items():
        assert len(set(stems)) == len(stems) == sum(words.stems_per_split.values()), label
        assert sum(words.impressions[label].values()) == pytest.approx(1.0)


def test_the_tone_of_a_triage_message_speaks_against_its_label():
    for part in splits_of("triage").values():
        loud = Counter(example.target for example in part if example.input.count("!") >= 2)
        assert loud["Normal"] == pytest.approx(0.7 * len(part) / 2)
        assert loud["Urgent"] == pytest.approx(0.3 * len(part) / 2)


def test_generated_data_is_the_same_in_every_process():
    code = (
        "from dln_core.config import *; from dln_core.tasks import load_task\n"
        "names = ('triage', 'routing', 'stock_count')\n"
        "print(*(load_task(TaskConfig(name=n), DataConfig()).digest for n in names))"
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


def count_goods(story: str) -> int:
    """Solve a stock_count story from its text alone."""
    count = 0
    for sentence in story.split(". "):
        numbers = [int(number) for number in re.findall(r"\d+", sentence)]
        if sentence.startswith("In the morning"):
            count = numbers[0]
        elif "pallets" in sentence:
            count += numbers[0] * numbers[1]
        elif "bring back" in sentence:
            count += numbers[0]
        elif "sells" in sentence or "thrown away" in sentence:
            count -= numbers[0]
    return count


def test_an_independent_solver_agrees_with_every_count():
    for part in splits_of("stock_count").values():
        for example in part:
            assert str(count_goods(example.input)) == example.target
            assert int(example.target) > 0
