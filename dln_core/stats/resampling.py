"""What resampling tests and intervals share.

Axes: ``n`` items, ``F`` features of an item, ``C`` clusters of items, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dln_core.vi.weights import Array

# From the means of F features, R x F, to R values.
Statistic = Callable[[Array], Array]

NUM_RESAMPLES = 10_000
# Swaps of at most so many kinds are counted in full.
MAX_EXACT_SWAPS = 2**16
# Numbers that a block of resamples may take, 16 MB.
_BLOCK_SIZE = 2**21


def blocks(num_kinds: int) -> list[int]:
    """Sizes of the blocks that the resamples are drawn in, so that memory stays bounded."""
    size = max(1, min(NUM_RESAMPLES, _BLOCK_SIZE // num_kinds))
    whole, rest = divmod(NUM_RESAMPLES, size)
    return [size] * whole + [rest] * (rest > 0)


def cluster_sums(items: Array, clusters: Sequence[str] | None) -> Array:
    """Add up the features of the items of each cluster, C x F; None makes each item its own.

    Raises:
        ValueError: If not every item has a cluster.
    """
    if clusters is None:
        return items
    if len(clusters) != len(items):
        raise ValueError(f"{len(items)} items have {len(clusters)} clusters")
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((int(places.max()) + 1, items.shape[1]))
    np.add.at(sums, places, items)
    return sums


def require_paired(items_a: Array, items_b: Array) -> None:
    """Make sure that two tables of answers are to the same items.

    Raises:
        ValueError: If their shapes differ.
    """
    if items_a.shape != items_b.shape:
        raise ValueError(f"{len(items_a)} and {len(items_b)} answers cannot be paired")
