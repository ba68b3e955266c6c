"""Head-room and interaction: exact on values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from dln_core.headroom import Difference, gain, interaction

ONE = np.ones(20)
NONE = np.zeros(20)


def test_a_prompt_that_is_always_better_gains_the_difference() -> None:
    assert gain(np.stack([NONE, ONE, NONE])) == Difference(1.0, 1.0, 1.0)


def test_the_initial_prompt_wins_ties_and_then_nothing_is_gained() -> None:
    values = np.stack([ONE, ONE, NONE])
    assert gain(values) == Difference(0.0, 0.0, 0.0)


def test_what_luck_alone_makes_best_gains_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    gains, naive = [], []
    for _ in range(100):
        values = (rng.random((12, 40)) < 0.5).astype(float)
        gains.append(gain(values).mean)
        naive.append((values.mean(axis=1).max() - values[0].mean()).item())
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))
    assert np.mean(naive) > 0.1


def test_what_adds_up_does_not_interact() -> None:
    rng = np.random.default_rng(1)
    first, last, items = rng.random((3, 1, 1)), rng.random((1, 4, 1)), rng.random((1, 1, 25))
    contrast = interaction(first + last + items).contrast
    assert contrast == Difference(*(pytest.approx(0.0, abs=1e-9),) * 3)


def test_the_pair_that_works_together_alone_is_found() -> None:
    values = np.zeros((3, 3, 20))
    values[2, 1] = 1.0
    found = interaction(values)
    assert (found.first, found.last) == (2, 1)
    assert found.contrast == Difference(1.0, 1.0, 1.0)


def test_the_interval_holds_for_all_pairs_at_once() -> None:
    rng = np.random.default_rng(2)
    values = (rng.random((2, 2, 40)) < 0.5).astype(float)
    one = interaction(values).contrast
    # The same pair, given twice more, has to answer for three more.
    several = interaction(values[[0, 1, 1]][:, [0, 1, 1]]).contrast
    assert several.mean == one.mean
    assert several.low < one.low
    assert several.high > one.high
