"""Intervals and paired tests."""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.stats import (
    bootstrap_interval,
    mcnemar_exact,
    paired_permutation,
    wilson_interval,
)


def first_mean(means):
    return means[:, 0]


def column(values):
    return np.array(values, dtype=float)[:, None]


def permuted(a, b):
    return paired_permutation(column(a), column(b), first_mean, np.random.default_rng(0))


def test_the_interval_holds_the_accuracy_and_stays_within_bounds():
    low, high = wilson_interval(45, 60)
    assert (low, high) == pytest.approx((0.6277, 0.8422), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0


@pytest.mark.parametrize(("num_correct", "num_items"), [(1, 0), (5, 4), (-1, 4)])
def test_counts_that_make_no_accuracy_are_refused(num_correct, num_items):
    with pytest.raises(ValueError, match="make no accuracy"):
        wilson_interval(num_correct, num_items)


def test_only_items_that_differ_count():
    a = [True] * 8 + [False] * 2 + [True] * 50
    b = [False] * 8 + [True] * 2 + [True] * 50
    # 8 against 2 of 10 coin flips: 2 * (1 + 10 + 45) / 1024.
    assert mcnemar_exact(a, b) == pytest.approx(112 / 1024)
    assert mcnemar_exact(a, a) == 1.0


def test_unequal_numbers_of_items_are_refused():
    with pytest.raises(ValueError, match="zip"):
        mcnemar_exact([True], [True, False])


def test_the_bootstrap_of_equal_items_is_one_point():
    interval = bootstrap_interval(column([0.25] * 9), first_mean, np.random.default_rng(0))
    assert interval == pytest.approx((0.25, 0.25))


def test_the_bootstrap_of_two_items_holds_all_that_they_can_give():
    # Of 2 draws from {0, 1} the mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    rng = np.random.default_rng(0)
    assert bootstrap_interval(column([0, 1]), first_mean, rng) == (0.0, 1.0)
    assert bootstrap_interval(column([0, 1]), first_mean, rng, confidence=0.4) == (0.5, 0.5)


def test_the_bootstrap_comes_near_the_normal_interval_of_a_mean_of_many():
    rng = np.random.default_rng(1)
    scores = rng.random(2000)
    low, high = bootstrap_interval(column(scores), first_mean, rng)
    margin = 1.96 * scores.std() / np.sqrt(len(scores))
    assert (low, high) == pytest.approx((scores.mean() - margin, scores.mean() + margin), abs=1e-3)


def test_a_bootstrap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no items"):
        bootstrap_interval(np.zeros((0, 1)), first_mean, np.random.default_rng(0))


def test_all_swaps_of_a_few_items_are_counted():
    # Differences 0.5, 0.25, 0.25: of 8 sign patterns only +++ and --- reach their sum of 1.
    assert permuted([0.5, 0.75, 0.25, 0.3], [0.0, 0.5, 0.0, 0.3]) == pytest.approx(2 / 8)
    # Differences 0.5, -0.25: half of the patterns reach 0.25, the others exceed it.
    assert permuted([0.5, 0.0], [0.0, 0.25]) == 1.0
    assert permuted([0.1, 0.2], [0.1, 0.2]) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_of_right_and_wrong_answers_the_test_by_swaps_is_mcnemars(pairs):
    a, b = zip(*pairs, strict=True)
    assert permuted(a, b) == pytest.approx(mcnemar_exact(a, b))


def test_drawn_swaps_come_near_the_normal_approximation_and_are_never_impossible():
    rng = np.random.default_rng(2)
    before = rng.random(400)
    after = np.clip(before + rng.normal(0.02, 0.2, 400), 0, 1)
    difference = after - before
    z = abs(difference.sum()) / np.sqrt((difference**2).sum())
    p_value = permuted(before, after)
    # Two-sided tail of the normal distribution.
    assert p_value == pytest.approx(erfc(z / np.sqrt(2)), abs=0.02)
    assert permuted(before, before + 1.0) == pytest.approx(1 / 10_001)
    assert permuted(before, after) == p_value


def test_answers_to_other_items_are_not_paired():
    with pytest.raises(ValueError, match="cannot be paired"):
        permuted([1.0], [1.0, 0.0])
