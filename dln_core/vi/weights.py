"""Weights of hidden samples: posterior sharpening.

Axes: ``B`` examples, ``K`` hidden samples.  Log quantities are in nats.  An example with fewer
than K distinct samples is padded with -inf log-weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def as_log_values(name: str, values: Array) -> Array:
    """Return log quantities as an array of doubles; -inf is allowed.

    Raises:
        ValueError: If a value is NaN or +inf; the message calls the values by the name.
    """
    result = np.asarray(values, dtype=np.float64)
    bad = np.isnan(result) | np.isposinf(result)
    if bad.any():
        raise ValueError(f"{name} must not be NaN or +inf, but {bad.sum()} of {bad.size} are")
    return result


def normalize_log_weights(log_weights: Array, *, temperature: float = 1.0) -> Array:
    """Turn log-weights (nats, shape B x K) into weights that sum to one over each example.

    A row that is -inf everywhere carries no information and becomes uniform.

    Raises:
        ValueError: If the temperature is not positive and finite, or a log-weight is NaN or +inf.

    Source: Sordani et al. 2023, Algorithm 2, posterior sharpening.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    values = as_log_values("log-weights", log_weights)
    peak = values.max(axis=-1, keepdims=True)
    silent = np.isneginf(peak)
    # Subtract the row peak first: long completions (-1e3 nats) underflow to 0/0.
    shifted = np.where(silent, 0.0, values - np.where(silent, 0.0, peak)) / temperature
    unnormalized = np.exp(shifted)
    result: Array = unnormalized / unnormalized.sum(axis=-1, keepdims=True)
    return result


def sharpen(log_weights: Array, *, temperature: float = 1.0, hard: bool = False) -> Array:
    """Weights of hidden samples (nats in, shape ... x K) over the last axis.

    Args:
        log_weights: As ``normalize_log_weights`` takes them.
        temperature: Divides the log-weights first.
        hard: Give all weight to the best sample, the first of equals; in a row that is -inf
            everywhere that is the first sample.

    Raises:
        ValueError: As ``normalize_log_weights`` does.

    Source: Sordani et al. 2023, Algorithm 2, posterior sharpening; with ``hard``, the best sample
    alone, which they call h*.
    """
    weights = normalize_log_weights(log_weights, temperature=temperature)
    if not hard:
        return weights
    # Not the argmax of the weights: samples that differ by less than rounding are equal there.
    best = np.argmax(log_weights, axis=-1, keepdims=True)
    result = np.zeros_like(weights)
    np.put_along_axis(result, best, 1.0, axis=-1)
    return result


def effective_sample_size(weights: Array) -> Array:
    """Number of equally weighted samples that the weights (B x K) amount to; shape B, 1 to K."""
    result: Array = 1.0 / np.square(weights).sum(axis=-1)
    return result


def log_softmax(values: Array) -> Array:
    """Normalise log-probabilities (nats) over the last axis; a row of -inf becomes uniform."""
    values = np.asarray(values, dtype=np.float64)
    peak = values.max(axis=-1, keepdims=True)
    silent = np.isneginf(peak)
    shifted = np.where(silent, 0.0, values - np.where(silent, 0.0, peak))
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
