"""What candidates are worth, and which one is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.vi.selection import (
    Penalties,
    allocate,
    comparable_examples,
    decayed,
    rewards,
    select,
)


def test_a_reward_is_the_objective_less_the_penalties():
    found = rewards(
        np.array([-1.0, -2.0]),
        divergence=np.array([0.0, 0.5]),
        avoided=np.array([-3.0, -4.0]),
        num_tokens=np.array([10.0, 100.0]),
        penalties=Penalties(trust_factor=2.0, exploration=0.5, length_penalty=0.01),
    )
    np.testing.assert_allclose(found, [-1 - 0 + 1.5 - 0.1, -2 - 1 + 2 - 1])


def test_a_penalty_that_is_switched_off_counts_nothing_however_impossible_the_text():
    objective = np.array([-1.0, -2.0])
    found = rewards(
        objective,
        divergence=np.array([0.0, np.inf]),
        avoided=np.full(2, -np.inf),
        num_tokens=np.zeros(2),
        penalties=Penalties(),
    )
    np.testing.assert_array_equal(found, objective)
    assert found is not objective


def test_of_equal_rewards_the_first_wins():
    assert select(np.array([1.0, 1.0, 0.5])) == 0
    assert select(np.array([0.0, 2.0, 2.0])) == 1
    with pytest.raises(ValueError, match="no candidate"):
        select(np.array([]))
    with pytest.raises(ValueError, match="not a number"):
        select(np.array([np.nan]))


def test_an_example_that_any_candidate_shows_ranks_none():
    contained = np.array([[False, True, False], [False, False, False]])
    assert comparable_examples(contained).tolist() == [True, False, True]


def test_exploration_decays_linearly_to_zero():
    assert [decayed(2.0, step, 4) for step in (1, 2, 5)] == [2.0, 1.5, 0.0]


@given(
    st.integers(0, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(lambda shares: sum(shares) > 1e-6),
)
def test_an_allocation_adds_up_and_is_within_one_of_each_share(count, shares):
    parts = allocate(count, shares)
    assert sum(parts) == count
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - count * share / sum(shares)) < 1 + 1e-9
        assert share > 0 or part == 0


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (5, [1.0, 1.0], [3, 2]),
        (20, [0.5, 0.0, 0.5], [10, 0, 10]),
        (4, [0.4, 0.35, 0.25], [2, 1, 1]),
        (1, [0.2, 0.8], [0, 1]),
        (15, [0.1, 0.3, 0.6], [2, 4, 9]),
        # Equal remainders that doubles would tell apart: 0.6 twice, 0.4 twice.
        (6, [0.6, 0.3, 0.1], [4, 2, 0]),
        (2, [0.7, 0.1, 0.2], [2, 0, 0]),
        (0, [1.0], [0]),
    ],
)
def test_the_largest_remainders_get_one_more_the_first_of_equals_first(count, shares, expected):
    assert allocate(count, shares) == expected


@pytest.mark.parametrize("shares", [[], [0.0, 0.0], [1.0, -0.5], [np.nan], [np.inf, 1.0]])
def test_shares_that_divide_nothing_are_refused(shares):
    with pytest.raises(ValueError, match="one above 0"):
        allocate(3, shares)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        allocate(-1, [1.0])
