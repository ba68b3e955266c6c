"""Honest comparison: intervals and paired tests of accuracies and of other means.

Axes: ``n`` items, ``F`` features of an item, ``K`` distinct kinds of items, ``R`` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dln_core.vi.weights import Array

# From the means of F features, R x F, to R values.
Statistic = Callable[[Array], Array]

NUM_RESAMPLES = 10_000
# Swaps of at most so many kinds are counted in full.
MAX_EXACT_SWAPS = 2**16
# Differences are compared at this precision: the order of a sum may not settle a tie.
_TOLERANCE = 1e-9
# Numbers that a block of resamples may take, 16 MB.
_BLOCK_SIZE = 2**21


def wilson_interval(
    num_correct: int, num_items: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    Raises:
        ValueError: If there are no items, or more right answers than items.
    """
    if not 0 <= num_correct <= num_items or num_items == 0:
        raise ValueError(f"{num_correct} right answers of {num_items} items make no accuracy")
    interval = _binomial_test(num_correct, num_items).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> float:
    """Two-sided exact p-value of McNemar's test on the same items.

    Only the items on which the two differ count; without any the p-value is 1.

    Raises:
        ValueError: If the two do not cover the same number of items.
    """
    pairs = list(zip(correct_a, correct_b, strict=True))
    only_a = sum(a and not b for a, b in pairs)
    only_b = sum(b and not a for a, b in pairs)
    if only_a + only_b == 0:
        return 1.0
    return float(_binomial_test(only_a, only_a + only_b).pvalue)


def bootstrap_interval(
    items: Array, statistic: Statistic, rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a statistic over items drawn anew with replacement.

    Args:
        items: n x F, what the statistic needs of each item.
        statistic: Maps means over the items to values.
        rng: Draws ``NUM_RESAMPLES`` resamples.
        confidence: Share of the resamples between the two ends.

    Raises:
        ValueError: If there are no items.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    if len(items) == 0:
        raise ValueError("no items have no interval")
    # How often each kind of item is drawn is multinomial: that is all that the means depend on.
    kinds, counts = np.unique(items, axis=0, return_counts=True)
    values = [
        statistic(rng.multinomial(len(items), counts / len(items), size) @ kinds / len(items))
        for size in _blocks(len(kinds))
    ]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(values), [tail, 1.0 - tail])
    return float(low), float(high)


def paired_permutation(
    items_a: Array, items_b: Array, statistic: Statistic, rng: np.random.Generator
) -> float:
    """Two-sided p-value of the difference of a statistic between two answers to each item.

    Under the null hypothesis the two answers to an item may be swapped.  All swaps are counted
    where there are few enough kinds of them, for right and wrong answers this is the exact McNemar
    test; else ``NUM_RESAMPLES`` are drawn, and the observed one is counted among them.

    Args:
        items_a: n x F, what the statistic needs of each item as the one answers it.
        items_b: n x F, the same for the other.
        statistic: Maps means over the items to values.
        rng: Draws the swaps.

    Raises:
        ValueError: If the two do not cover the same number of items.

    Source: Yeh 2000, More accurate tests for the statistical significance of result differences;
    Phipson and Smyth 2010 for the count of the observed one.
    """
    if items_a.shape != items_b.shape:
        raise ValueError(f"{len(items_a)} and {len(items_b)} answers cannot be paired")
    differs = (items_a != items_b).any(axis=1)
    if not differs.any():
        return 1.0
    num_features = items_a.shape[1]
    pairs = np.hstack([items_a, items_b])[differs]
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
    for size in _blocks(len(kinds)):
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


def _blocks(num_kinds: int) -> list[int]:
    """Sizes of the blocks that the resamples are drawn in, so that memory stays bounded."""
    size = max(1, min(NUM_RESAMPLES, _BLOCK_SIZE // num_kinds))
    whole, rest = divmod(NUM_RESAMPLES, size)
    return [size] * whole + [rest] * (rest > 0)


def _binomial_test(successes: int, trials: int) -> Any:
    # Imported here: it takes longer than all else that a plan or an error message needs.
    from scipy.stats import binomtest

    return binomtest(successes, trials, 0.5)
