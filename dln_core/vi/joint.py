"""Joint configurations of several hidden variables that are independent of each other.

Axes: ``V`` hidden variables, ``K`` samples of one of them, ``J`` joint configurations, each of
which picks one sample of every variable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dln_core.vi.weights import Array


def most_probable(weights: Sequence[Array], limit: int) -> tuple[NDArray[np.intp], Array]:
    """The most probable joint configurations, and their probabilities among themselves.

    They come by descending probability, ties by the sample indices in lexicographic order.  None
    has probability 0.  Without a variable there is one, empty configuration.

    Args:
        weights: For each of V variables the weights of its samples, which sum to one.
        limit: At most so many configurations, at least 1.

    Returns:
        Sample indices, J x V, and weights that sum to one, J.

    Raises:
        ValueError: If the limit is below 1, or a variable's weights are not finite, are negative or
            all 0.
    """
    if limit < 1:
        raise ValueError(f"at least one configuration has to be kept, got limit={limit}")
    indices, probabilities = np.zeros((1, 0), dtype=np.intp), np.ones(1)
    for variable, row in enumerate(weights):
        _check(variable, row)
        # Extending the best prefixes alone is exact: what follows is independent of them, so the
        # continuations of two prefixes stand in the order of the prefixes.
        extended = np.repeat(indices, len(row), axis=0)
        chosen = np.tile(np.arange(len(row)), len(indices))[:, np.newaxis]
        indices = np.hstack([extended, chosen])
        probabilities = np.outer(probabilities, row).ravel()
        order = np.lexsort((*indices.T[::-1], -probabilities))[:limit]
        # Without weight, by underflow too, a configuration is not worth a model's call.
        order = order[probabilities[order] > 0]
        indices, probabilities = indices[order], probabilities[order]
    return indices, probabilities / probabilities.sum()


def pairs(
    indices: NDArray[np.intp],
    weights: Array,
    rows: NDArray[np.intp],
    num_rows: int,
    num_targets: int,
) -> Array:
    """Probability of each pair of what a layer reads and what it should write.

    Args:
        indices: Target that each of J configurations picks for the layer, J.
        weights: Probabilities of the configurations, J.
        rows: Which text each configuration gives the layer to read, J.
        num_rows: How many texts there are to read.
        num_targets: How many targets there are.

    Returns:
        Sums of the weights, num_rows x num_targets; the pairs that no configuration makes have 0.
    """
    result = np.zeros((num_rows, num_targets))
    np.add.at(result, (rows, indices), weights)
    return result


def _check(variable: int, weights: Array) -> None:
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise ValueError(
            f"weights of hidden variable {variable} must be finite and not negative, with one "
            f"above 0; got {np.asarray(weights).tolist()}"
        )
