"""Intervals and paired tests."""

from __future__ import annotations

import pytest

from dln_core.stats import mcnemar_exact, wilson_interval


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
