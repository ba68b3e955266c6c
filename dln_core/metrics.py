"""What networks are measured by: accuracy, macro F1 or the mean score, with their statistics.

All of them read items as they are recorded: ``correct``, and for macro F1 ``target`` and ``label``,
for the mean score ``score``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dln_core.stats import (
    Statistic,
    bootstrap_interval,
    mcnemar_exact,
    paired_bootstrap,
    paired_permutation,
    sign_flip_exact,
    wilson_interval,
)
from dln_core.vi.weights import Array

Item = Mapping[str, Any]

# Resampling is part of a result: the same in every run.
_RESAMPLING_SEED = 0


def judged(item: Item) -> dict[str, Any]:
    """Return what metrics and their tests read of an item."""
    names = ("correct", "score", "target", "label", "group")
    return {name: item[name] for name in names if name in item}


def measured(metric: str, items: Sequence[Item]) -> float:
    """Return the value of a metric, from 0 to 1.

    Macro F1 is the mean of the F1 of the labels that are wanted or given at least once.

    Args:
        metric: ``accuracy``, ``macro_f1`` or ``mean_score``.
        items: At least one.
    """
    if metric == "accuracy":
        return sum(map(_is_right, items)) / len(items)
    features = _features(metric, items, _classes(items))
    return float(_STATISTICS[metric](features.mean(axis=0, keepdims=True))[0])


def interval(metric: str, items: Sequence[Item]) -> tuple[float, float]:
    """Return the 95 % interval of a metric: Wilson's of accuracy, else by bootstrap.

    Raises:
        ValueError: If there are no items.
    """
    if metric == "accuracy":
        return wilson_interval(sum(map(_is_right, items)), len(items))
    features = _features(metric, items, _classes(items))
    return bootstrap_interval(features, _STATISTICS[metric], _rng())


def p_value(
    metric: str,
    before: Sequence[Item],
    after: Sequence[Item],
    clusters: Sequence[str] | None = None,
) -> float:
    """Return the two-sided p-value of a difference on the same items: McNemar's, or by swaps.

    Args:
        metric: ``accuracy``, ``macro_f1`` or ``mean_score``.
        before: Items of the one.
        after: Of the other, in the same order.
        clusters: The source of each item, whose items are swapped together; None where they share
            nothing.

    Raises:
        ValueError: If the two do not cover the same number of items.
    """
    if metric == "accuracy":
        if clusters is not None:
            return sign_flip_exact(_gains([before], [after], clusters))
        return mcnemar_exact(list(map(_is_right, before)), list(map(_is_right, after)))
    classes = _classes([*before, *after])
    features = [_features(metric, items, classes) for items in (before, after)]
    return paired_permutation(features[0], features[1], _STATISTICS[metric], _rng(), clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much better the one answers the same items than the other.

    Attributes:
        value: Difference of the metric.
        low: Lower end of its 95 % interval, by paired bootstrap over clusters.
        high: Its upper end.
        p_value: Two-sided; of accuracy exact, else by swaps of clusters.
        num_clusters: Groups of items that share nothing with each other.
    """

    value: float
    low: float
    high: float
    p_value: float
    num_clusters: int


def difference(
    metric: str,
    before: Sequence[Sequence[Item]],
    after: Sequence[Sequence[Item]],
    clusters: Sequence[str],
) -> Difference:
    """Compare two methods on the same items, each with one or several seeds.

    An item counts with the mean over its seeds, and swaps and resamples move whole clusters: the
    answers of all seeds to all items of one source.  With one seed each and a source for each
    item, the test is McNemar's.

    Args:
        metric: ``accuracy``, ``macro_f1`` or ``mean_score``.
        before: Of the one, for each seed the items in one order.
        after: Of the other, in the same order.
        clusters: The source of each item; at least two distinct ones.

    Raises:
        ValueError: If the two do not cover the same number of items, or all share one source.
    """
    classes = _classes([item for run in (*before, *after) for item in run])
    means = [
        np.mean([_features(metric, run, classes) for run in runs], axis=0)
        for runs in (before, after)
    ]
    statistic = _STATISTICS[metric]
    low, high = paired_bootstrap(means[0], means[1], statistic, _rng(), clusters)
    if metric == "accuracy":
        p = sign_flip_exact(_gains(before, after, clusters))
    else:
        p = paired_permutation(means[0], means[1], statistic, _rng(), clusters)
    ends = [float(statistic(mean.mean(axis=0, keepdims=True))[0]) for mean in means]
    return Difference(
        value=ends[1] - ends[0],
        low=low,
        high=high,
        p_value=p,
        num_clusters=len(set(clusters)),
    )


def _gains(
    before: Sequence[Sequence[Item]], after: Sequence[Sequence[Item]], clusters: Sequence[str]
) -> list[int]:
    """How many more right answers the second has in each cluster, in units that are whole."""
    unit = math.lcm(len(before), len(after))
    gains = dict.fromkeys(clusters, 0)
    for runs, sign in ((before, -1), (after, 1)):
        for run in runs:
            for cluster, item in zip(clusters, run, strict=True):
                gains[cluster] += sign * _is_right(item) * (unit // len(runs))
    return list(gains.values())


def _is_right(item: Item) -> bool:
    return bool(item["correct"])


def _classes(items: Sequence[Item]) -> list[str]:
    """The labels that are wanted or given, for items that name any."""
    named = {item[key] for item in items if "label" in item for key in ("target", "label")}
    # An answer that names no label counts against the one that is wanted alone.
    return sorted(named - {""})


def _features(metric: str, items: Sequence[Item], classes: Sequence[str]) -> Array:
    """What a statistic needs of each item.

    Whether it is right; its score; or whether it has, wants and gives a class, which is n x 3C:
    both, wanted, given.
    """
    if metric == "accuracy":
        return np.array([[_is_right(item)] for item in items], dtype=float)
    if metric == "mean_score":
        return np.array([[item["score"]] for item in items], dtype=float)
    names = np.array(classes)
    wanted = np.array([[item["target"]] for item in items]) == names
    given = np.array([[item["label"]] for item in items]) == names
    return np.hstack([wanted & given, wanted, given]).astype(float)


def _mean(means: Array) -> Array:
    return means[:, 0]


def _macro_f1(means: Array) -> Array:
    both, wanted, given = np.split(means, 3, axis=1)
    total = wanted + given
    # A difference of sums leaves a trace of rounding where nothing is left.
    occurs = total > 1e-12
    f1 = np.divide(2.0 * both, total, out=np.zeros_like(total), where=occurs)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))


_STATISTICS: dict[str, Statistic] = {
    "accuracy": _mean,
    "macro_f1": _macro_f1,
    "mean_score": _mean,
}


def _rng() -> np.random.Generator:
    return np.random.default_rng(_RESAMPLING_SEED)
