"""Tests of two answers to each of the same items.

Axes: ``n`` items, ``F`` features of an item, ``K`` distinct kinds of clusters, ``P`` ways to swap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dln_core.stats.resampling import (
    MAX_EXACT_SWAPS,
    NUM_RESAMPLES,
    Statistic,
    blocks,
    cluster_sums,
    require_paired,
)
from dln_core.vi.weights import Array

# Differences are compared at this precision: the order of a sum may not settle a tie.
_TOLERANCE = 1e-9


def mcnemar_exact(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> float:
    """Two-sided exact p-value of McNemar's test on the same items.

    Only the items on which the two differ count; without any the p-value is 1.

    Raises:
        ValueError: If the two do not cover the same number of items.
    """
    pairs = list(zip(correct_a, correct_b, strict=True))
    # Numbers of Python: those of NumPy overflow below.
    only_a = sum(bool(a and not b) for a, b in pairs)
    only_b = sum(bool(b and not a) for a, b in pairs)
    if only_a + only_b == 0:
        return 1.0
    num_differing = only_a + only_b
    tail: int = sum(math.comb(num_differing, count) for count in range(min(only_a, only_b) + 1))
    # Whole numbers until here: the tail of many items is beyond floats, its share is not.
    return min(1.0, float(2 * tail / 2**num_differing))


def sign_flip_exact(differences: Sequence[int]) -> float:
    """Two-sided exact p-value of a sum of differences, each of which might have had either sign.

    With a difference of -1, 0 or 1 an item this is McNemar's exact test; with one a cluster, the
    sum over its items and seeds, it is McNemar's for items that share a source.

    Args:
        differences: How many more right answers the one has than the other, an integer a cluster.
    """
    sizes = [abs(difference) for difference in differences if difference]
    if not sizes:
        return 1.0
    unit = math.gcd(*sizes)
    total = sum(sizes) // unit
    observed = abs(sum(differences)) // unit
    # Of the sum of those differences that are taken as positive.
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for size in (size // unit for size in sizes):
        moved = np.zeros_like(chances)
        moved[size:] = chances[:-size]
        chances = (chances + moved) / 2.0
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[sums >= observed].sum()))


def paired_permutation(
    items_a: Array,
    items_b: Array,
    statistic: Statistic,
    rng: np.random.Generator,
    clusters: Sequence[str] | None = None,
) -> float:
    """Two-sided p-value of the difference of a statistic between two answers to each item.

    Under the null hypothesis the two answers to an item may be swapped, those to all items of a
    cluster together.  All swaps are counted where there are few enough kinds of them, for right
    and wrong answers this is the exact McNemar test; else ``NUM_RESAMPLES`` are drawn, and the
    observed one is counted among them.

    Args:
        items_a: n x F, what the statistic needs of each item as the one answers it.
        items_b: n x F, the same for the other.
        statistic: Maps means over the items to values.
        rng: Draws the swaps.
        clusters: Names what items come from, n; None where they share nothing.

    Raises:
        ValueError: If the two do not cover the same number of items.

    Source: Yeh 2000, More accurate tests for the statistical significance of result differences;
    Phipson and Smyth 2010 for the count of the observed one.
    """
    require_paired(items_a, items_b)
    sums_a, sums_b = cluster_sums(items_a, clusters), cluster_sums(items_b, clusters)
    differs = (sums_a != sums_b).any(axis=1)
    if not differs.any():
        return 1.0
    num_features = items_a.shape[1]
    pairs = np.hstack([sums_a, sums_b])[differs]
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    moved = (kinds[:, num_features:] - kinds[:, :num_features]) / len(items_a)
    mean_a, mean_b = items_a.mean(axis=0), items_b.mean(axis=0)

    def difference(swaps: Array) -> Array:
        shift = swaps @ moved
        return np.abs(statistic(mean_a + shift) - statistic(mean_b - shift))

    observed = difference(np.zeros((1, len(kinds))))[0] - _TOLERANCE
    if math.prod(int(count) + 1 for count in counts) <= MAX_EXACT_SWAPS:
        swaps, weights = _all_swaps([int(count) for count in counts])
        return min(1.0, float(weights[difference(swaps) >= observed].sum()))
    num_extreme = 1
    for size in blocks(len(kinds)):
        swaps = rng.binomial(counts, 0.5, (size, len(kinds))).astype(float)
        num_extreme += int((difference(swaps) >= observed).sum())
    return num_extreme / (NUM_RESAMPLES + 1)


def _all_swaps(counts: Sequence[int]) -> tuple[Array, Array]:
    """How many of each kind may be swapped, P x K, and the probabilities of that, P."""
    grids = np.meshgrid(*(np.arange(count + 1) for count in counts), indexing="ij")
    chances = [
        np.array([math.comb(count, k) / 2**count for k in range(count + 1)]) for count in counts
    ]
    weights = np.ones(1)
    for chance in chances:
        weights = np.outer(weights, chance).ravel()
    return np.stack([grid.ravel() for grid in grids], axis=1).astype(float), weights
