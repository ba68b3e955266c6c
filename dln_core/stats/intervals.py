"""Intervals of accuracies, of means over seeds and of differences.

Axes: ``n`` items, ``F`` features of an item, ``C`` clusters of items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from dln_core.stats.resampling import (
    Statistic,
    blocks,
    cluster_sums,
    require_paired,
)
from dln_core.vi.weights import Array


def wilson_interval(
    num_correct: int, num_items: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    Raises:
        ValueError: If there are no items, or more right answers than items.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    if not 0 <= num_correct <= num_items or num_items == 0:
        raise ValueError(f"{num_correct} right answers of {num_items} items make no accuracy")
    # Written out, because SciPy's statistics take an actor a second and 70 MB to import.
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    size = num_items + z * z
    centre = (num_correct + z * z / 2.0) / size
    variance = num_correct * (num_items - num_correct) / num_items + z * z / 4.0
    margin = z * math.sqrt(variance) / size
    low = 0.0 if num_correct == 0 else centre - margin
    high = 1.0 if num_correct == num_items else centre + margin
    return low, high


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of a few values, such as those of several seeds.

    Raises:
        ValueError: If there are fewer than two values: one has no spread.
    """
    if len(values) < 2:
        raise ValueError("an interval of a mean needs at least two values")
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    margin = float(stdtrit(len(values) - 1, 0.5 + confidence / 2.0)) * error
    return mean - margin, mean + margin


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
        for size in blocks(len(kinds))
    ]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(values), [tail, 1.0 - tail])
    return float(low), float(high)


def paired_bootstrap(
    items_a: Array,
    items_b: Array,
    statistic: Statistic,
    rng: np.random.Generator,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of how much higher a statistic is of b's answers than of a's, to the same items.

    Whole clusters are drawn anew with replacement, the two answers to an item together.  The
    percentiles are those that make the interval of a mean as wide as Student's, since few
    clusters vary less in resamples than in truth.

    Args:
        items_a: n x F, what the statistic needs of each item as a answers it.
        items_b: n x F, the same for b.
        statistic: Maps means over the items to values.
        rng: Draws ``NUM_RESAMPLES`` resamples.
        clusters: Names what items come from, n; None where they share nothing.
        confidence: Nominal coverage.

    Raises:
        ValueError: If there are fewer than two clusters, or the two do not cover the same items.

    Source: Hesterberg 2015, What Teachers Should Know about the Bootstrap, expanded percentiles.
    """
    require_paired(items_a, items_b)
    features = np.hstack([items_a, items_b, np.ones((len(items_a), 1))])
    sums = cluster_sums(features, clusters)
    if len(sums) < 2:
        raise ValueError("an interval needs items of at least two sources")
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    values = []
    for size in blocks(len(kinds)):
        totals = rng.multinomial(len(sums), counts / len(sums), size) @ kinds
        mean_a, mean_b = np.split(totals[:, :-1] / totals[:, -1:], 2, axis=1)
        values.append(statistic(mean_b) - statistic(mean_a))
    tail = _expanded_tail(len(sums), confidence)
    low, high = np.quantile(np.concatenate(values), [tail, 1.0 - tail])
    return float(low), float(high)


def _expanded_tail(num_clusters: int, confidence: float) -> float:
    """Share of the resamples beyond each end, so that a mean's interval is as wide as Student's."""
    from scipy.special import ndtr, stdtrit

    deviation = math.sqrt(num_clusters / (num_clusters - 1))
    return float(ndtr(deviation * stdtrit(num_clusters - 1, (1.0 - confidence) / 2.0)))
