"""Racing against scipy's paired test, and what it does to equals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr
from scipy.stats import ttest_rel

from dln_core.vi.racing import clearly_behind, rounds, student_tail


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.integers(2, 30),
    st.sampled_from([0.5, 0.8, 0.95, 0.999]),
)
def test_the_test_is_that_of_scipy(seed, num_candidates, num_examples, confidence):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(num_candidates, 1))
    scores = (
        quality
        + rng.normal(size=num_examples)
        + rng.normal(size=(num_candidates, 1)) * (rng.normal(size=(num_candidates, num_examples)))
    )
    leader = int(scores.mean(axis=1).argmax())
    behind = clearly_behind(scores, confidence=confidence)
    for row in range(num_candidates):
        if row == leader:
            assert not behind[row]
            continue
        p_value = ttest_rel(scores[leader], scores[row], alternative="greater").pvalue
        assert behind[row] == (p_value < 1 - confidence)


@given(st.integers(1, 200), st.floats(-1e6, 1e6))
def test_the_tail_of_student_s_t_is_that_of_scipy(degrees, statistic):
    # SciPy takes a t near 0 for 0, hence the 1e-9.
    assert student_tail(degrees, np.array([statistic]))[0] == pytest.approx(
        stdtr(degrees, -statistic), abs=1e-9
    )


def test_a_clearly_better_candidate_drops_the_others_and_the_current_prompt_too():
    rng = np.random.default_rng(7)
    scores = rng.normal(scale=0.1, size=(5, 6)) - 3.0
    scores[2] += 2.0
    assert clearly_behind(scores).tolist() == [True, True, False, True, True]


def test_hard_examples_do_not_hide_a_steady_difference():
    difficulty = np.array([-1.0, -200.0, -3.0, -80.0])
    scores = np.stack([difficulty, difficulty - np.array([0.4, 0.5, 0.6, 0.5])])
    assert clearly_behind(scores).tolist() == [False, True]


@given(st.integers(1, 6), st.lists(st.floats(-100, 0), min_size=1, max_size=10))
def test_equal_candidates_are_never_dropped(num_candidates, row):
    assert not clearly_behind(np.tile(row, (num_candidates, 1))).any()


def test_a_constant_difference_needs_no_variance():
    scores = np.array([[-2.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert clearly_behind(scores).tolist() == [True, False, False]


def test_one_example_decides_nothing():
    assert not clearly_behind(np.array([[0.0], [-100.0]])).any()
    assert not clearly_behind(np.zeros((2, 0))).any()


def test_a_candidate_that_finds_an_answer_impossible_is_behind_unless_all_do():
    impossible = [-1.0, -np.inf, -1.0]
    scores = np.array([impossible, [-9.0, -1.0, -2.0]])
    assert clearly_behind(scores).tolist() == [True, False]
    assert not clearly_behind(np.array([impossible, impossible])).any()


@pytest.mark.parametrize(
    ("scores", "confidence", "message"),
    [
        (np.zeros((0, 3)), 0.95, "no candidate"),
        (np.array([[0.0, np.nan]]), 0.95, "scores must not be NaN"),
        (np.zeros((1, 2)), 1.0, "between 0 and 1"),
    ],
)
def test_scores_and_confidences_that_make_no_race_are_refused(scores, confidence, message):
    with pytest.raises(ValueError, match=message):
        clearly_behind(scores, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_equally_good_candidate_is_dropped_as_rarely_as_the_confidence_says(confidence):
    rng = np.random.default_rng(13)
    num_simulations = 2000
    dropped = sum(
        bool(clearly_behind(rng.normal(size=(2, 8)), confidence=confidence)[1])
        for _ in range(num_simulations)
    )
    expected = (1 - confidence) * num_simulations
    # Four standard deviations of a binomial count.
    assert abs(dropped - expected) < 4 * np.sqrt(expected * confidence)


@pytest.mark.parametrize(
    ("first", "total", "expected"),
    [
        (4, 20, [4, 8, 16, 20]),
        (5, 20, [5, 10, 20]),
        (4, 17, [4, 8, 17]),
        (4, 18, [4, 8, 16, 18]),
        (4, 5, [5]),
        (4, 4, [4]),
        (20, 8, [8]),
        (1, 3, [1, 2, 3]),
        (2, 0, []),
    ],
)
def test_rounds_double_and_end_at_the_total_without_a_sliver(first, total, expected):
    assert rounds(first, total) == expected


def test_rounds_that_cannot_begin_are_refused():
    with pytest.raises(ValueError, match="cannot begin with 0"):
        rounds(0, 10)
    with pytest.raises(ValueError, match="-1 examples"):
        rounds(2, -1)
