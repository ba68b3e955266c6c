"""Choosing the worked examples that are most like a question."""

from __future__ import annotations

import sys
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.neighbours import nearest
from dln_core.types import Demonstration

POOL = tuple(
    Demonstration(text, f"answer {index}")
    for index, text in enumerate(
        [
            "The train to Kyoto is late again.",
            "My soup was cold and the waiter rude.",
            "The soup of the day was excellent.",
            "When does the next train leave?",
            "A rude letter came in the post.",
        ]
    )
)


def inputs(query: str, count: int, pool: tuple[Demonstration, ...] = POOL) -> list[str]:
    return [demonstration.input for demonstration in nearest(query, pool, count)]


def test_the_most_similar_one_stands_last() -> None:
    assert inputs("A rude waiter and a cold soup", 2) == [POOL[4].input, POOL[1].input]


def test_rare_words_count_more_than_common_ones() -> None:
    pool = (
        Demonstration("the the the of and", "a"),
        Demonstration("the of and zebra", "b"),
        Demonstration("the of and", "c"),
    )
    assert inputs("the of and zebra crossing", 1, pool) == ["the of and zebra"]


def test_the_question_itself_is_never_shown() -> None:
    asked = "My soup  was cold\nand the waiter rude."
    assert POOL[1].input not in inputs(asked, len(POOL))
    assert len(inputs(asked, len(POOL))) == len(POOL) - 1


def test_equally_similar_ones_are_taken_in_the_order_of_the_pool() -> None:
    pool = tuple(Demonstration(f"apple pear {name}", name) for name in ("fig", "kiwi", "plum"))
    assert [d.output for d in nearest("apple", pool, 2)] == ["kiwi", "fig"]
    assert [d.output for d in nearest("nothing alike", pool, 3)] == ["plum", "kiwi", "fig"]


def test_numbers_and_signs_tell_inputs_apart() -> None:
    pool = (Demonstration("3 + 4", "7"), Demonstration("3 - 4", "-1"), Demonstration("9 * 8", "72"))
    assert inputs("3 - 5", 1, pool) == ["3 - 4"]
    assert inputs("9 / 8", 1, pool) == ["9 * 8"]


@pytest.mark.parametrize("count", [0, -1])
def test_none_are_chosen_if_none_are_asked_for(count: int) -> None:
    assert nearest("train", POOL, count) == []


def test_an_empty_pool_gives_nothing() -> None:
    assert nearest("train", (), 3) == []


@pytest.mark.parametrize("text", ["", "   ", "?!"])
def test_inputs_without_words_are_chosen_from_too(text: str) -> None:
    pool = (Demonstration(text, "a"), Demonstration(text, "b"))
    assert [d.output for d in nearest("a question", pool, 5)] == ["b", "a"]


def test_pools_do_not_answer_for_one_another() -> None:
    other = tuple(Demonstration(d.input, f"other {d.output}") for d in POOL)
    assert [d.output for d in nearest("train", POOL, 1)] == ["answer 3"]
    assert [d.output for d in nearest("train", other, 1)] == ["other answer 3"]
    assert nearest("train", list(POOL), 2) == nearest("train", POOL, 2)


@given(
    st.text(max_size=40),
    st.lists(st.builds(Demonstration, st.text(max_size=20), st.text(max_size=3)), max_size=6),
    st.integers(0, 8),
)
def test_any_text_gets_at_most_as_many_as_asked_for_all_from_the_pool(
    query: str, pool: list[Demonstration], count: int
) -> None:
    chosen = nearest(query, pool, count)
    others = [d for d in pool if " ".join(d.input.split()) != " ".join(query.split())]
    assert len(chosen) == min(count, len(others))
    assert all(d in others for d in chosen)
    assert chosen == nearest(query, pool, count)


def test_networks_without_such_shots_do_not_wait_for_the_import() -> None:
    code = "import sys, dln_core.neighbours; sys.exit('sklearn' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
