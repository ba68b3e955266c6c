"""Joint configurations against the enumeration of all of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.vi.joint import most_probable, pairs

# Products of a few multiples of 1/64 are exact, so ties are ties in any order of the factors.
PARTS = 64


@st.composite
def exact_weights(draw):
    """Weights of one variable: up to four multiples of 1/64 that sum to one, some of them 0."""
    cuts = sorted(draw(st.lists(st.integers(0, PARTS), max_size=3)))
    return np.diff([0, *cuts, PARTS]) / PARTS


variables = st.lists(exact_weights(), max_size=4)


def enumerated(weights):
    """All configurations with mass, in the order asked for, and their probabilities."""
    found = []
    for picks in itertools.product(*(range(len(row)) for row in weights)):
        probability = math.prod(row[k] for row, k in zip(weights, picks, strict=True))
        if probability > 0:
            found.append((-probability, picks))
    return [(picks, -negative) for negative, picks in sorted(found)]


@given(variables, st.integers(1, 300))
def test_the_kept_configurations_are_the_first_of_all(weights, limit):
    indices, kept = most_probable(weights, limit)
    expected = enumerated(weights)[:limit]
    assert indices.shape == (len(expected), len(weights))
    assert [tuple(row) for row in indices.tolist()] == [picks for picks, _ in expected]
    total = sum(probability for _, probability in expected)
    np.testing.assert_allclose(kept, [p / total for _, p in expected], rtol=1e-12)


@given(variables)
def test_with_room_for_all_each_variable_keeps_its_weights(weights):
    indices, kept = most_probable(weights, 4**4)
    for variable, row in enumerate(weights):
        marginal = np.bincount(indices[:, variable], weights=kept, minlength=len(row))
        np.testing.assert_allclose(marginal, row, atol=1e-12)


def test_without_variables_there_is_one_empty_configuration():
    indices, kept = most_probable([], 3)
    assert indices.shape == (1, 0)
    assert kept.tolist() == [1.0]


def test_many_variables_need_no_more_than_the_limit():
    indices, kept = most_probable([np.array([0.75, 0.25])] * 60, 4)
    assert indices.sum(axis=1).tolist() == [0, 1, 1, 1]
    # Ties are in lexicographic order: the deviation moves from the last variable forwards.
    assert indices[1:].argmax(axis=1).tolist() == [59, 58, 57]
    np.testing.assert_allclose(kept, [0.5, 1 / 6, 1 / 6, 1 / 6])


def test_a_configuration_whose_probability_underflows_is_left_out():
    indices, kept = most_probable([np.array([1.0, 1e-200])] * 2, 10)
    assert indices.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert (kept > 0).all()


@pytest.mark.parametrize("row", [[0.0, 0.0], [1.5, -0.5], [np.nan, 1.0]])
def test_weights_that_are_no_distribution_are_refused(row):
    with pytest.raises(ValueError, match="weights of hidden variable 1"):
        most_probable([np.ones(1), np.array(row)], 2)
    with pytest.raises(ValueError, match="limit=0"):
        most_probable([np.ones(1)], 0)


@given(exact_weights(), exact_weights())
def test_pairs_of_all_configurations_make_the_product_distribution(read, written):
    indices, kept = most_probable([read, written], len(read) * len(written))
    found = pairs(indices[:, 1], kept, indices[:, 0], len(read), len(written))
    np.testing.assert_allclose(found, np.outer(read, written), atol=1e-12)


def test_configurations_of_one_pair_add_up():
    found = pairs(
        indices=np.array([1, 1, 0]),
        weights=np.array([0.5, 0.25, 0.25]),
        rows=np.array([0, 0, 2]),
        num_rows=3,
        num_targets=2,
    )
    assert found.tolist() == [[0.0, 0.75], [0.0, 0.0], [0.25, 0.0]]
