"""The label prior of a prompt: what it answers whatever the input, and how that is divided out.

Axes: ``B`` inputs, ``C`` labels.  Log quantities are in nats.

Source: Zhao et al. 2021, Calibrate Before Use; with the mean over inputs of the task in place of
inputs without content, Zhou et al. 2024, Batch Calibration.
"""

from __future__ import annotations

import numpy as np

from dln_core.vi.weights import Array, as_log_values, log_softmax


def label_prior(label_log_probs: Array, *, pseudo_count: float = 1.0) -> Array:
    """Log of the mean label probabilities over the inputs, shrunk towards uniform.

    Args:
        label_log_probs: B x C, normalised over C here.
        pseudo_count: Number of inputs with uniform labels that are added.

    Returns:
        Log-probs that sum to one, C.

    Raises:
        ValueError: If the pseudo-count is negative or not finite, a log-prob is NaN or +inf, or
            there is neither an input nor a pseudo-input.
    """
    if not 0 <= pseudo_count < np.inf:
        raise ValueError(f"pseudo_count must be finite and not negative, got {pseudo_count}")
    values = as_log_values("label log-probs", label_log_probs)
    num_inputs, num_labels = values.shape
    if num_inputs + pseudo_count == 0:
        raise ValueError("a label prior needs at least one input, or a pseudo_count above 0")
    # In log space: the mean of probabilities of -1e3 nats would underflow to no mass.
    total = np.logaddexp.reduce(log_softmax(values), axis=0)
    if pseudo_count > 0:
        total = np.logaddexp(total, np.log(pseudo_count) - np.log(num_labels))
    result: Array = total - np.log(num_inputs + pseudo_count)
    return result


def divide_out(label_log_probs: Array, log_prior: Array) -> Array:
    """Log-probs over the last axis (C) with the label prior divided out, normalised again.

    Raises:
        ValueError: If the prior gives a label no mass, or either holds NaN or +inf.
    """
    values = as_log_values("label log-probs", label_log_probs)
    prior = as_log_values("label prior", log_prior)
    if np.isneginf(prior).any():
        raise ValueError(
            f"the label prior {prior.tolist()} gives a label no mass, so it cannot be divided out; "
            "estimate it with a pseudo_count above 0"
        )
    return log_softmax(log_softmax(values) - prior)
