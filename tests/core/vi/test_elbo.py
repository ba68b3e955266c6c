"""The bounds against the evidence of models that are small enough to be summed up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.vi.elbo import elbo, entropy, expectation, importance_weighted_bound
from dln_core.vi.weights import normalize_log_weights
from tests.core.vi.strategies import distributions, log_values

NUM_HIDDEN = 4

# log p(y, h) of one observed y: log p(h) + log p(y | h) for each value of h.
log_joints = st.builds(
    lambda prior, likelihood: np.log(prior[0]) + np.log(likelihood[:, 0]),
    distributions(1, NUM_HIDDEN),
    distributions(NUM_HIDDEN, 3),
)
guides = distributions(1, NUM_HIDDEN).map(lambda rows: rows[0])


def expected_bound(guide, log_joint, num_draws):
    """Mean of the importance weighted bound over all tuples of draws from the guide."""
    draws = np.array(list(itertools.product(range(NUM_HIDDEN), repeat=num_draws)))
    bounds = importance_weighted_bound((log_joint - np.log(guide))[draws])
    return float((guide[draws].prod(axis=-1) * bounds).sum())


@given(log_joints, guides)
def test_the_elbo_never_exceeds_the_evidence_and_meets_it_at_the_true_posterior(log_joint, guide):
    evidence = np.log(np.exp(log_joint).sum())
    posterior = np.exp(log_joint - evidence)
    assert elbo(guide, log_joint) <= evidence + 1e-12
    assert elbo(posterior, log_joint) == pytest.approx(evidence, rel=0, abs=1e-9)
    # The gap is the divergence of the guide from the posterior.
    gap = (guide * np.log(guide / posterior)).sum()
    assert evidence - elbo(guide, log_joint) == pytest.approx(gap, rel=0, abs=1e-9)


@given(log_values)
def test_the_elbo_never_exceeds_the_evidence_whatever_the_scale(log_joint):
    evidence = np.logaddexp.reduce(log_joint, axis=-1)
    anyhow = normalize_log_weights(log_joint[:, ::-1])
    assert (elbo(anyhow, log_joint) <= evidence + 1e-9).all()
    posterior = normalize_log_weights(log_joint)
    np.testing.assert_allclose(elbo(posterior, log_joint), evidence, rtol=0, atol=1e-9)


@given(log_joints, guides)
def test_more_draws_never_loosen_the_importance_weighted_bound(log_joint, guide):
    evidence = np.log(np.exp(log_joint).sum())
    bounds = [expected_bound(guide, log_joint, num_draws) for num_draws in (1, 2, 3)]
    assert bounds[0] == pytest.approx(float(elbo(guide, log_joint)), rel=0, abs=1e-9)
    assert bounds[0] <= bounds[1] + 1e-12
    assert bounds[1] <= bounds[2] + 1e-12
    assert bounds[2] <= evidence + 1e-12


def test_three_draws_from_a_poor_guide_are_strictly_tighter_than_one():
    log_joint = np.log([0.5, 0.2, 0.05, 0.05])
    guide = np.array([0.1, 0.2, 0.3, 0.4])
    one, three = (expected_bound(guide, log_joint, num_draws) for num_draws in (1, 3))
    assert one + 0.1 < three < np.log(0.8)


@given(log_joints, st.integers(1, 3))
def test_draws_from_the_true_posterior_give_the_evidence_at_once(log_joint, num_draws):
    evidence = np.log(np.exp(log_joint).sum())
    posterior = np.exp(log_joint - evidence)
    bound = expected_bound(posterior, log_joint, num_draws)
    assert bound == pytest.approx(evidence, rel=0, abs=1e-9)


@given(log_values, st.floats(-1000, 1000))
def test_the_importance_weighted_bound_moves_with_an_offset(values, offset):
    bound = importance_weighted_bound(values)
    assert (bound <= values.max(axis=-1) + 1e-9).all()
    np.testing.assert_allclose(
        importance_weighted_bound(values + offset), bound + offset, rtol=0, atol=1e-9
    )


def test_the_importance_weighted_bound_is_exact_at_minus_five_thousand_nats():
    rows = np.array([[-5000.0, -5000.0 + np.log(3)], [-5000.0, -np.inf], [-np.inf, -np.inf]])
    expected = [-5000 + np.log(2), -5000 - np.log(2), -np.inf]
    np.testing.assert_allclose(importance_weighted_bound(rows), expected, rtol=1e-15)


def test_the_importance_weighted_bound_refuses_no_draws_and_no_numbers():
    with pytest.raises(ValueError, match="at least one draw"):
        importance_weighted_bound(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="NaN"):
        importance_weighted_bound(np.array([0.0, np.nan]))


def test_padded_samples_of_weight_zero_never_count():
    assert expectation(np.array([[1.0, 0.0]]), np.array([[-2.0, -np.inf]])).tolist() == [-2.0]
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist() == pytest.approx([0.0, np.log(2)])
