"""Worked examples: drawn anew, added, swapped, dropped, or taken from the errors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.proposals.demonstrations import Examples, applicable, balanced
from dln_core.proposals.evidence import Evidence
from dln_core.types import Demonstration, Prompt
from tests.core.proposals.toys import CASES, EVIDENCE, PARENT, SHOTS, material

SHOWING_FOUR = Prompt("Say.", SHOTS[:4])
WRONG = {case.body for case in CASES if not case.is_right}


def rng(seed=0):
    return np.random.default_rng(seed)


def changed(given_material, count=200):
    """Worked examples of many candidates."""
    plans = Examples().plans(given_material, count, rng())
    return [plan.base.demonstrations for plan in plans]


def edits(shown, parent):
    """How many of a parent's worked examples are gone, and how many are new."""
    return len(set(parent) - set(shown)), len(set(shown) - set(parent))


def test_worked_examples_are_balanced_over_answers_bounded_and_distinct():
    for shown in changed(material()):
        outputs = [demonstration.output for demonstration in shown]
        assert 4 <= len(outputs) <= 8
        assert abs(outputs.count("Even") - outputs.count("Odd")) <= 1
        assert len(set(shown)) == len(outputs)


def test_nothing_has_to_be_written_and_the_instruction_stays():
    plans = Examples().plans(material(), 20, rng())
    assert all(plan.drafts == () for plan in plans)
    assert {plan.base.instruction for plan in plans} == {PARENT.instruction}


def test_examples_need_shots_and_room():
    assert Examples().is_possible(material())
    assert not Examples().is_possible(material(evidence=Evidence(CASES, (), ())))
    assert not Examples().is_possible(material(min_demonstrations=0, max_demonstrations=0))


@pytest.mark.parametrize(
    ("num_shown", "expected"),
    [
        (0, ["redraw", "errors"]),
        (1, ["redraw", "errors", "add", "swap"]),
        (4, ["redraw", "errors", "add", "swap", "drop"]),
        (8, ["redraw", "errors", "swap", "drop"]),
        (10, ["redraw", "errors", "drop"]),
    ],
)
def test_operators_apply_within_the_bounds(num_shown, expected):
    parent = Prompt("Say.", SHOTS[:num_shown])
    assert applicable(material(), parent) == expected


def test_errors_are_no_operator_where_nothing_went_wrong():
    right = Evidence(tuple(case for case in CASES if case.is_right), SHOTS, ())
    assert applicable(material(evidence=right), PARENT) == ["redraw"]


def test_nothing_is_added_or_swapped_when_all_shots_are_shown():
    few = Evidence(CASES, SHOTS[:4], ())
    assert applicable(material(evidence=few), SHOWING_FOUR) == ["redraw", "errors", "drop"]


def test_every_operator_turns_up_and_changes_one_or_two():
    kinds = Counter()
    for shown in changed(material(SHOWING_FOUR), 400):
        gone, new = edits(shown, SHOWING_FOUR.demonstrations)
        kinds["add"] += gone == 0 and new in (1, 2)
        kinds["swap"] += gone == new and new in (1, 2)
        kinds["drop"] += new == 0 and gone in (1, 2)
        kinds["redraw"] += gone > 2
    assert min(kinds[name] for name in ("add", "swap", "drop", "redraw")) > 30


@given(st.integers(1, 10), st.integers(1, 6), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_demonstrations_stay_within_the_bounds_and_are_never_all_dropped(
    num_shown, low, more, seed
):
    parent = Prompt("Say.", SHOTS[:num_shown])
    bounds = material(parent, min_demonstrations=low, max_demonstrations=low + more)
    for plan in Examples().plans(bounds, 5, rng(seed)):
        shown = plan.base.demonstrations
        assert 1 <= len(shown) <= max(low + more, num_shown - 1)
        assert len({demonstration.input for demonstration in shown}) == len(shown)
        assert set(shown) <= set(SHOTS)


def test_dropping_keeps_the_order():
    two = Prompt("Say.", SHOTS[:2])
    single = [shown for shown in changed(material(two, min_demonstrations=2)) if len(shown) == 1]
    assert set(single) == {SHOTS[:1], SHOTS[1:2]}
    for shown in changed(material(SHOWING_FOUR)):
        if edits(shown, SHOWING_FOUR.demonstrations)[1] == 0 and len(shown) < 4:
            assert list(shown) == sorted(shown, key=SHOTS.index)


def test_inputs_that_went_wrong_come_first_within_each_answer():
    wrong = {"Item: 0", "Item: 3"}
    drawn = balanced(SHOTS, 4, rng(), preferred=wrong)
    assert {shot.input for shot in drawn[:2]} == wrong
    assert Counter(shot.output for shot in drawn) == {"Even": 2, "Odd": 2}


def test_inputs_that_went_wrong_come_first_among_answers_that_are_all_different():
    shots = tuple(Demonstration(case.body, f"answer {i}") for i, case in enumerate(CASES))
    drawn = balanced(shots, 10, rng(), preferred=WRONG)
    assert {shot.input for shot in drawn} == WRONG


def test_half_of_the_candidates_of_a_bare_parent_start_from_errors():
    hard = Evidence((CASES[1],), SHOTS, ())
    share = np.mean([SHOTS[1] in shown for shown in changed(material(evidence=hard), 400)])
    # Half of them must show it; the others do so by chance, three of ten times on average.
    assert 0.55 < share < 0.75


def test_drawing_takes_all_answers_in_turn_and_stops_at_what_is_there():
    rare = [*SHOTS[:1], *SHOTS[1::2]]
    assert SHOTS[0] in balanced(rare, 4, rng())
    assert len(balanced(SHOTS, 100, rng())) == len(SHOTS)


def test_the_same_input_is_never_shown_twice():
    again = tuple(Demonstration(shot.input, "Unsure") for shot in SHOTS[:4])
    other = Evidence((), (*again, SHOTS[5]), EVIDENCE.labels)
    assert applicable(material(evidence=other), SHOWING_FOUR) == ["redraw", "add", "swap", "drop"]
    for shown in changed(material(SHOWING_FOUR, other, min_demonstrations=1)):
        assert len({demonstration.input for demonstration in shown}) == len(shown)
