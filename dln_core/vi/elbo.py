"""The evidence lower bound and its parts, in nats.

Axes: ``B`` examples, ``K`` distinct hidden samples.  The guide's weights are a distribution over
the K distinct samples, so with summed log-probs the bound holds for any weights.
"""

from __future__ import annotations

import numpy as np

from dln_core.vi.weights import Array


def expectation(weights: Array, values: Array) -> Array:
    """Mean of values under weights over the last axis; a value of weight 0 never counts.

    Without the exception, a padded sample (weight 0, value -inf) would give NaN.
    """
    terms = np.where(weights > 0, weights * np.where(weights > 0, values, 0.0), 0.0)
    result: Array = terms.sum(axis=-1)
    return result


def entropy(weights: Array) -> Array:
    """Entropy of the weights over the last axis, in nats."""
    positive = np.where(weights > 0, weights, 1.0)
    result: Array = -(weights * np.log(positive)).sum(axis=-1)
    return result


def elbo(weights: Array, log_joint: Array) -> Array:
    """Evidence lower bound E_q[log p(y, h)] + H[q] of each example.

    Args:
        weights: q over distinct hidden samples, B x K.
        log_joint: log p(y | h) + log p(h | x) as summed log-probs, B x K.

    Source: Sordani et al. 2023, section 3, with the entropy that the prompts do not change.
    """
    result: Array = expectation(weights, log_joint) + entropy(weights)
    return result
