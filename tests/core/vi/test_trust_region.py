"""The divergence of a candidate's answers from the current prompt's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dln_core.vi.trust_region import LOG_PROB_FLOOR, kl_divergence
from tests.core.vi.strategies import log_values

# Classes may have no mass, or so little that it falls under the floor.
with_gaps = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(2, 6)),
    elements=st.one_of(st.floats(-50, 0), st.just(-np.inf)),
)


@given(log_values, st.floats(-100, 0))
def test_the_divergence_is_zero_at_equality_whatever_the_offset(values, offset):
    np.testing.assert_array_equal(kl_divergence(values, values), 0.0)
    np.testing.assert_allclose(kl_divergence(values, values + offset), 0.0, atol=1e-12)


@given(with_gaps)
def test_the_divergence_is_never_negative_and_never_infinite(pair):
    divergence = kl_divergence(pair[0], pair[1])
    assert -1e-12 <= divergence <= -LOG_PROB_FLOOR + 1e-9


def test_with_many_classes_the_floor_does_not_make_the_divergence_negative():
    log_q = np.full(10_000, -np.inf)
    log_q[0] = 0.0
    log_p = np.full(10_000, LOG_PROB_FLOOR - np.log(2))
    log_p[0] = np.log1p(-np.exp(log_p[1:]).sum())
    assert kl_divergence(log_p, log_q) >= -1e-12


def test_the_divergence_is_that_of_the_normalised_classes():
    divergence = kl_divergence(np.log([0.25, 0.75]), np.log([0.2, 0.2]))
    assert divergence == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))


def test_a_class_without_mass_under_the_candidate_counts_as_the_floor():
    divergence = kl_divergence(np.log([[0.5, 0.5]]), np.array([[0.0, -np.inf]]))
    assert divergence == pytest.approx(np.log(0.5) - LOG_PROB_FLOOR / 2)


def test_a_class_without_mass_under_the_current_prompt_does_not_count():
    divergence = kl_divergence(np.array([[0.0, -np.inf]]), np.log([[0.5, 0.5]]))
    assert divergence == pytest.approx(np.log(2))
