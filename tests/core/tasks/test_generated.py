"""The generated tasks: balanced, disjoint by stem, framed alike, right by another solver."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations, product
from math import log

import pytest

from dln_core.config import DataConfig, TaskConfig
from dln_core.tasks import load_task
from dln_core.tasks.generated.grammar import lexicon

WITH_LEXICON = ("triage", "routing")
# Jaccard index of content words; above it, two cores tend to tell the same event.
MOST_SHARED_WORDS = 0.4
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be been before but by can cannot for from had has have his i in "
        "into is it its me my no not nobody of off on only or our out so some somebody someone "
        "than that the their them then there they this to too under up us was we were when where "
        "which while who with without",
    )
)


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
def test_the_source_names_the_stem_and_every_stem_serves_one_split(name):
    words = lexicon(name)
    items = Counter()
    splits = {}
    for split, part in splits_of(name).items():
        for example in part:
            assert example.id.rpartition("/")[0] == example.source
            items[example.source] += 1
            splits.setdefault(example.source, set()).add(split)
    assert set(items.values()) == {words.items_per_stem}
    assert all(len(used) == 1 for used in splits.values())
    assert len(splits) == sum(len(stems) for stems in words.stems.values())


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


def test_triage_has_its_sizes():
    assert [len(part) for part in splits_of("triage").values()] == [200, 100, 240]


def core_of(example):
    """Return the core of a triage item, which is its whole stem."""
    return lexicon("triage").stems[example.target][int(example.source.rpartition("-")[2])]


def frame_of(example):
    """Return what a triage item says besides its core."""
    core = core_of(example)
    frame = re.sub(re.escape(core), "", example.input, flags=re.IGNORECASE)
    assert len(frame) == len(example.input) - len(core)
    return frame


def test_no_two_items_of_triage_share_a_core():
    cores = [core_of(example) for part in splits_of("triage").values() for example in part]
    assert len(set(cores)) == len(cores) == 540


def test_triage_cores_are_clauses_that_fit_every_frame():
    words = lexicon("triage")
    for core in (stem for stems in words.stems.values() for stem in stems):
        assert core[0].islower() or core.startswith("I "), core
        assert 6 <= len(core.split()) <= 15, core
        assert not re.search(r"[.:;!?{}]", core), core


def content_words(core):
    return frozenset(re.findall(r"[a-z0-9']+", core.lower())) - FUNCTION_WORDS


def test_triage_cores_of_different_splits_have_few_words_in_common():
    parts = [[core_of(example) for example in part] for part in splits_of("triage").values()]
    pairs = []
    for one, other in combinations(parts, 2):
        for first, second in product(one, other):
            mine, theirs = content_words(first), content_words(second)
            pairs.append((len(mine & theirs) / len(mine | theirs), first, second))
    worst = sorted(pairs, reverse=True)[:10]
    assert worst[0][0] < MOST_SHARED_WORDS, "\n".join(f"{p:.2f}: {a} / {b}" for p, a, b in worst)


def test_both_labels_of_triage_are_framed_alike():
    for part in splits_of("triage").values():
        frames = {label: Counter() for label in part[0].labels}
        for example in part:
            frames[example.target][frame_of(example)] += 1
        assert frames["Urgent"] == frames["Normal"]
        assert len(frames["Urgent"]) == len(lexicon("triage").frames["plain"])


def bag_of_words_accuracy(train, test, text):
    """Return how often naive Bayes, on the words and marks of ``text``, finds the label."""
    tokens = re.compile(r"\w+|[^\w\s]").findall
    counts = {label: Counter() for label in train[0].labels}
    for example in train:
        counts[example.target].update(set(tokens(text(example))))
    totals = Counter(example.target for example in train)

    def score(label, found):
        return sum(log((counts[label][token] + 1) / (totals[label] + 2)) for token in found)

    right = 0
    for example in test:
        found = set(tokens(text(example)))
        right += max(counts, key=lambda label: score(label, found)) == example.target
    return right / len(test)


def test_a_triage_frame_alone_says_nothing_about_the_label():
    splits = splits_of("triage")
    for split in ("dev", "test"):
        accuracy = bag_of_words_accuracy(splits["train"], splits[split], frame_of)
        assert accuracy == pytest.approx(0.5)


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
