"""Dividing out what a prompt answers whatever the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dln_core.vi.calibration import divide_out, label_prior
from dln_core.vi.weights import log_softmax

NUM_LABELS = 3
inputs = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.just(NUM_LABELS)), elements=st.floats(-20, 0)
)
biases = arrays(np.float64, NUM_LABELS, elements=st.floats(-20, 20))


def calibrated(values):
    return divide_out(values, label_prior(values, pseudo_count=0.0))


@given(inputs, st.floats(0, 10))
def test_the_prior_is_the_shrunk_mean_of_the_label_probabilities(values, pseudo_count):
    probabilities = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    total = probabilities.sum(axis=0) + pseudo_count / NUM_LABELS
    prior = np.exp(label_prior(values, pseudo_count=pseudo_count))
    np.testing.assert_allclose(prior, total / (len(values) + pseudo_count))
    np.testing.assert_allclose(prior.sum(), 1.0)


@given(inputs, biases)
def test_dividing_out_renormalises_and_a_uniform_prior_changes_nothing(values, bias):
    divided = divide_out(values, bias)
    np.testing.assert_allclose(np.exp(divided).sum(axis=-1), 1.0)
    np.testing.assert_allclose(divide_out(values, np.full(3, -1.0)), log_softmax(values))
    np.testing.assert_allclose(divided, divide_out(values - 7.0, bias + 3.0), atol=1e-9)


@given(arrays(np.float64, NUM_LABELS, elements=st.floats(-20, 0)), biases, st.integers(1, 5))
def test_a_bias_that_answers_without_reading_disappears(row, bias, num_inputs):
    unread = np.tile(row + bias, (num_inputs, 1))
    np.testing.assert_allclose(calibrated(unread), -np.log(NUM_LABELS), atol=1e-9)


def test_predictions_do_not_follow_a_bias_added_to_all_inputs():
    # Each of three kinds of inputs favours its own label.
    values = np.repeat(np.log(0.1 + 0.7 * np.eye(NUM_LABELS)), 4, axis=0)
    labels = np.repeat(np.arange(NUM_LABELS), 4)
    for bias in (np.array([9.0, 0.0, 0.0]), np.array([0.0, -6.0, 3.0])):
        biased = values + bias
        assert (biased.argmax(axis=1) == biased[0].argmax()).all()
        np.testing.assert_array_equal(calibrated(biased).argmax(axis=1), labels)


@given(inputs, biases)
def test_however_large_a_bias_it_moves_the_odds_by_no_more_than_the_inputs_differ(values, bias):
    def odds(log_probs):
        return log_probs[:, :, np.newaxis] - log_probs[:, np.newaxis, :]

    moved = np.abs(odds(calibrated(values + bias)) - odds(calibrated(values)))
    spread = np.ptp(odds(values), axis=0)
    assert (moved <= spread + 1e-6).all()


def test_without_inputs_the_prior_is_uniform_or_refused():
    nothing = np.zeros((0, NUM_LABELS))
    np.testing.assert_allclose(np.exp(label_prior(nothing)), 1 / NUM_LABELS)
    with pytest.raises(ValueError, match="at least one input"):
        label_prior(nothing, pseudo_count=0.0)


@pytest.mark.parametrize("pseudo_count", [-1.0, np.nan, np.inf])
def test_a_pseudo_count_below_zero_is_refused(pseudo_count):
    with pytest.raises(ValueError, match="pseudo_count must be"):
        label_prior(np.zeros((1, 2)), pseudo_count=pseudo_count)


def test_a_label_that_is_never_seen_keeps_a_finite_prior_by_its_pseudo_inputs():
    never = np.array([[0.0, -np.inf], [0.0, -np.inf]])
    np.testing.assert_allclose(np.exp(label_prior(never)), [2.5 / 3, 0.5 / 3])
    with pytest.raises(ValueError, match="gives a label no mass"):
        divide_out(never, label_prior(never, pseudo_count=0.0))


def test_the_prior_of_unlikely_labels_does_not_underflow():
    prior = label_prior(np.array([[0.0, -5000.0]]), pseudo_count=0.0)
    np.testing.assert_allclose(prior, [0.0, -5000.0])
