"""Sorted words and open brackets: the solvers against BBH and against what defines an answer."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated import open_brackets, sorted_words
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import SMALLEST_AGREEMENT, bbh_items


def test_the_sorter_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "word_sorting"):
        words = text.partition("List: ")[2].split()
        assert " ".join(sorted_words.solve(words)) == gold, text


def comes_first(one: str, other: str) -> bool:
    """Compare two words letter by letter, as in a dictionary."""
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return "abcdefghijklmnopqrstuvwxyz".index(mine) < ord(theirs) - ord("a")
    return len(one) <= len(other)


@given(st.lists(st.text("abyz", min_size=1, max_size=4)))
def test_sorted_words_are_the_same_words_in_the_order_of_a_dictionary(words):
    ordered = sorted_words.solve(words)
    assert all(comes_first(one, other) for one, other in pairwise(ordered))
    assert all(ordered.count(word) == words.count(word) for word in {*words, *ordered})


@pytest.mark.parametrize("level", Level)
def test_the_words_to_sort_are_those_of_the_answer(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = sorted_words.draw(dice, level)
        words = re.split(r",? ", item.text.rpartition(": ")[2])
        assert len(set(words)) == len(words)
        assert sorted_words.solve(words) == item.target.split()


def test_the_closer_agrees_with_the_gold_answers(data_dir):
    items = bbh_items(data_dir, "dyck_languages")
    agreed = 0
    for text, gold in items:
        shown = text.partition("Input: ")[2]
        agreed += " ".join(open_brackets.solve(shown.split())) == gold
    assert agreed >= SMALLEST_AGREEMENT * len(items)
    assert agreed == len(items)


def is_balanced(text: str) -> bool:
    """Take away pairs of neighbours until there are none."""
    shorter = re.sub(r"\(\)|\[\]|\{\}|<>", "", text)
    return not text if shorter == text else is_balanced(shorter)


balanced = st.recursive(
    st.just(""),
    lambda inner: st.builds(
        lambda before, pair, within: f"{before}{pair[0]}{within}{pair[1]}",
        inner, st.sampled_from(["()", "[]", "{}", "<>"]), inner,
    ),
)  # fmt: skip


@given(balanced, st.data())
def test_any_beginning_of_a_balanced_text_is_completed_to_one(text, data):
    beginning = text[: data.draw(st.integers(0, len(text)))]
    ending = "".join(open_brackets.solve(beginning))
    assert is_balanced(beginning + ending)
    assert len(ending) <= len(text) - len(beginning)


@pytest.mark.parametrize("level", Level)
def test_the_answer_balances_the_brackets_and_is_as_short_as_can_be(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = open_brackets.draw(dice, level)
        shown = "".join(re.findall(r"[][(){}<>]", item.text))
        answer = item.target.replace(" ", "")
        assert answer
        assert is_balanced(shown + answer)
        assert not any(bracket in open_brackets.CLOSING for bracket in answer)


def test_a_bracket_that_closes_nothing_is_refused():
    with pytest.raises(ValueError, match=r"bracket 3, \), closes what is not open"):
        open_brackets.solve("[])")
