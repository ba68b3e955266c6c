"""How far a candidate prompt moves the answers away from the current one's."""

from __future__ import annotations

import numpy as np

from dln_core.vi.weights import Array, log_softmax

# A class without mass under the candidate counts as this log-probability (nats), so that one
# impossible label makes the divergence large but never infinite.
LOG_PROB_FLOOR = -30.0


def kl_divergence(log_p: Array, log_q: Array) -> Array:
    """KL(p || q) in nats over the last axis (C classes) of two arrays of log-probs.

    Both are normalised over the classes first.  It is 0 at equality, finite where a class has no
    mass, and below 0 by no more than rounding.
    """
    p, q = _with_floor(log_p), _with_floor(log_q)
    result: Array = (np.exp(p) * (p - q)).sum(axis=-1)
    return result


def _with_floor(log_probs: Array) -> Array:
    # Normalised again: the floor adds mass, and a sum above one would make the divergence negative.
    return log_softmax(np.maximum(log_softmax(log_probs), LOG_PROB_FLOOR))
