"""The evidence lower bound and its parts, in nats.

Axes: ``B`` examples, ``K`` distinct hidden samples.  The guide's weights are a distribution over
the K distinct samples, so with summed log-probs the bound holds for any weights.  The importance
weighted bound is about K independent draws instead, where the same text may come up again.
"""

from __future__ import annotations

import numpy as np

from dln_core.vi.weights import Array, as_log_values


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


def importance_weighted_bound(log_weights: Array) -> Array:
    """Importance weighted bound log (1/K) sum_k w_k of each example, in nats.

    In expectation over the draws it never exceeds log p(y), never falls as K grows, and is the
    evidence lower bound of the guide at K = 1.

    Args:
        log_weights: log w_k = log p(y, h_k) - log q(h_k) of K independent draws from the guide,
            with repetition, shape ... x K.  A draw of -inf counts as one of weight 0; if all are,
            the bound is -inf.

    Raises:
        ValueError: If there are no draws, or a log-weight is NaN or +inf.

    Source: Burda et al. 2016, Importance Weighted Autoencoders, equation 8 and theorem 1.
    """
    values = as_log_values("log-weights", log_weights)
    num_draws = values.shape[-1]
    if num_draws == 0:
        raise ValueError("the bound needs at least one draw for each example, got none")
    result: Array = np.logaddexp.reduce(values, axis=-1) - np.log(num_draws)
    return result
