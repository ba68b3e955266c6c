"""How far a candidate prompt moves the answers away from the current one's."""

from __future__ import annotations

import numpy as np

from dln_core.vi.weights import Array, log_softmax

# A class without mass under the candidate counts as this log-probability (nats), so that one
# impossible label makes the divergence large but never infinite.
LOG_PROB_FLOOR = -30.0


def kl_divergence(log_p: Array, log_q: Array) -> Array:
    """KL(p || q) in nats over the last axis (C classes) of two arrays of log-probs.

    Both are normalised over the classes first.  It is 0 at equality and finite where a class has
    no mass.
    """
    p = np.maximum(log_softmax(log_p), LOG_PROB_FLOOR)
    q = np.maximum(log_softmax(log_q), LOG_PROB_FLOOR)
    result: Array = (np.exp(p) * (p - q)).sum(axis=-1)
    return result
