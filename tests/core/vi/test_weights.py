"""Weights of hidden samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.vi.weights import (
    effective_sample_size,
    log_softmax,
    normalize_log_weights,
    sharpen,
)
from tests.core.vi.strategies import log_values


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


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_log_weight_that_is_no_number_is_refused(bad, hard):
    with pytest.raises(ValueError, match=r"log-weights must not be NaN or \+inf, but 1 of 2 are"):
        sharpen(np.array([[0.0, bad]]), hard=hard)


def test_a_high_temperature_flattens_the_weights():
    sharp = normalize_log_weights(np.array([[0.0, -4.0]]))
    flat = normalize_log_weights(np.array([[0.0, -4.0]]), temperature=100.0)
    assert 0.5 < flat[0, 0] < sharp[0, 0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_not_positive_and_finite_is_refused(temperature):
    with pytest.raises(ValueError, match="positive and finite"):
        normalize_log_weights(np.array([[0.0, -np.inf]]), temperature=temperature)


@given(log_values, st.floats(0.1, 10.0))
def test_soft_sharpening_divides_by_the_temperature_and_normalises(values, temperature):
    np.testing.assert_allclose(
        sharpen(values, temperature=temperature),
        normalize_log_weights(values / temperature),
        atol=1e-9,
    )


@given(log_values)
def test_hard_sharpening_is_the_limit_of_low_temperatures(values):
    rounded = np.round(values)  # Integers: equal ones are ties, others are far apart at 0.001.
    best = rounded == rounded.max(axis=-1, keepdims=True)
    soft = sharpen(rounded, temperature=1e-3)
    hard = sharpen(rounded, hard=True)
    np.testing.assert_allclose(soft, best / best.sum(axis=-1, keepdims=True))
    np.testing.assert_array_equal(hard.argmax(axis=-1), best.argmax(axis=-1))
    np.testing.assert_array_equal(np.sort(hard, axis=-1)[:, :-1], 0.0)
    np.testing.assert_array_equal(hard.max(axis=-1), 1.0)


def test_of_samples_that_differ_by_less_than_rounding_hard_sharpening_takes_the_better():
    np.testing.assert_array_equal(sharpen(np.array([-1e-20, 0.0]), hard=True), [0.0, 1.0])


def test_hard_sharpening_takes_the_first_sample_of_a_row_without_information():
    rows = np.array([[[-np.inf, -np.inf]], [[-np.inf, -5000.0]]])
    np.testing.assert_array_equal(sharpen(rows, hard=True), [[[1.0, 0.0]], [[0.0, 1.0]]])


@given(log_values)
def test_the_effective_sample_size_lies_between_one_and_the_number_of_samples(values):
    size = effective_sample_size(normalize_log_weights(values))
    assert ((size > 1 - 1e-9) & (size < values.shape[1] + 1e-9)).all()


def test_log_softmax_normalises():
    np.testing.assert_allclose(np.exp(log_softmax(np.array([-1000.0, -1000.0]))), [0.5, 0.5])
    np.testing.assert_allclose(np.exp(log_softmax(np.full(4, -np.inf))), 0.25)
