"""Which candidate prompt is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dln_core.vi.weights import Array


def select(rewards: Array) -> int:
    """Index of the highest reward; of equal rewards the first, where the current prompt stands.

    Raises:
        ValueError: If there is no candidate or a reward is NaN.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there is no candidate to select from")
    if np.isnan(values).any():
        raise ValueError(f"a reward is not a number: {values.tolist()}")
    return int(np.argmax(values))


def comparable_examples(contained: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which examples may rank the candidates: those that none of them shows as worked examples.

    Args:
        contained: N x B, true where candidate n shows example b.

    Returns:
        B booleans.
    """
    result: NDArray[np.bool_] = np.logical_not(np.any(contained, axis=0))
    return result


def decayed(factor: float, step: int, num_iterations: int) -> float:
    """Linear decay of a factor from its full value at the first step (1) towards 0."""
    return factor * max(0.0, 1.0 - (step - 1) / num_iterations)
