"""Weights of hidden samples: posterior sharpening.

Axes: ``B`` examples, ``K`` hidden samples.  Log quantities are in nats.  An example with fewer
than K distinct samples is padded with -inf log-weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normalize_log_weights(log_weights: Array, *, temperature: float = 1.0) -> Array:
    """Turn log-weights (nats, shape B x K) into weights that sum to one over each example.

    A row that is -inf everywhere carries no information and becomes uniform.

    Raises:
        ValueError: If the temperature is not positive or a log-weight is NaN or +inf.

    Source: Sordani et al. 2023, Algorithm 2, posterior sharpening.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    values = np.asarray(log_weights, dtype=np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError("log-weights must not be NaN or +inf")
    peak = values.max(axis=-1, keepdims=True)
    silent = np.isneginf(peak)
    # Subtract the row peak first: long completions (-1e3 nats) underflow to 0/0.
    shifted = np.where(silent, 0.0, values - np.where(silent, 0.0, peak)) / temperature
    unnormalized = np.exp(shifted)
    result: Array = unnormalized / unnormalized.sum(axis=-1, keepdims=True)
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
