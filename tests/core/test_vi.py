"""The numerics of variational inference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dln_core.vi.elbo import elbo, entropy, expectation
from dln_core.vi.selection import comparable_examples, decayed, select
from dln_core.vi.trust_region import kl_divergence
from dln_core.vi.weights import effective_sample_size, log_softmax, normalize_log_weights

log_values = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.floats(-5000, 0, allow_nan=False),
)


@given(log_values, st.floats(-1000, 1000))
def test_weights_sum_to_one_and_do_not_depend_on_an_offset(values, offset):
    weights = normalize_log_weights(values)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0)
    np.testing.assert_allclose(normalize_log_weights(values + offset), weights, atol=1e-9)


def test_weights_are_exact_at_minus_five_thousand_nats():
    weights = normalize_log_weights(np.array([[-5000.0, -5000.0 + np.log(3)]]))
    np.testing.assert_allclose(weights, [[0.25, 0.75]])


def test_a_row_without_information_becomes_uniform_and_padding_gets_nothing():
    weights = normalize_log_weights(np.array([[-np.inf, -np.inf], [0.0, -np.inf]]))
    np.testing.assert_array_equal(weights, [[0.5, 0.5], [1.0, 0.0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_log_weight_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="NaN"):
        normalize_log_weights(np.array([[0.0, bad]]))


def test_a_high_temperature_flattens_the_weights():
    sharp = normalize_log_weights(np.array([[0.0, -4.0]]))
    flat = normalize_log_weights(np.array([[0.0, -4.0]]), temperature=100.0)
    assert flat[0, 0] < sharp[0, 0]
    with pytest.raises(ValueError, match="positive"):
        normalize_log_weights(np.zeros((1, 2)), temperature=0.0)


@given(log_values)
def test_the_effective_sample_size_lies_between_one_and_the_number_of_samples(values):
    size = effective_sample_size(normalize_log_weights(values))
    assert ((size > 1 - 1e-9) & (size < values.shape[1] + 1e-9)).all()


@given(log_values)
def test_the_elbo_never_exceeds_the_evidence_whatever_the_weights(log_joint):
    evidence = np.logaddexp.reduce(log_joint, axis=-1)
    anyhow = normalize_log_weights(log_joint[:, ::-1])
    assert (elbo(anyhow, log_joint) <= evidence + 1e-9).all()
    posterior = normalize_log_weights(log_joint)
    np.testing.assert_allclose(elbo(posterior, log_joint), evidence, rtol=0, atol=1e-9)


def test_padded_samples_of_weight_zero_never_count():
    assert expectation(np.array([[1.0, 0.0]]), np.array([[-2.0, -np.inf]])).tolist() == [-2.0]
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist() == pytest.approx([0.0, np.log(2)])


@given(log_values)
def test_the_divergence_is_zero_at_equality_and_never_negative(values):
    np.testing.assert_allclose(kl_divergence(values, values - 3.0), 0.0, atol=1e-9)
    assert (kl_divergence(values, values[:, ::-1]) >= -1e-9).all()


def test_the_divergence_stays_finite_where_a_class_has_no_mass():
    divergence = kl_divergence(np.log([[0.5, 0.5]]), np.array([[0.0, -np.inf]]))
    assert np.isfinite(divergence).all()
    assert divergence[0] > 5


def test_log_softmax_normalises():
    np.testing.assert_allclose(np.exp(log_softmax(np.array([-1000.0, -1000.0]))), [0.5, 0.5])


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
