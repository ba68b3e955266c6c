"""What networks are measured by: accuracy, macro F1 or the mean score, with their statistics.

All of them read items as they are recorded: ``correct``, and for macro F1 ``target`` and ``label``,
for the mean score ``score``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dln_core.stats import (
    Statistic,
    bootstrap_interval,
    mcnemar_exact,
    paired_permutation,
    wilson_interval,
)
from dln_core.vi.weights import Array

Item = Mapping[str, Any]

# Resampling is part of a result: the same in every run.
_RESAMPLING_SEED = 0


def judged(item: Item) -> dict[str, Any]:
    """Return what metrics read of an item."""
    return {name: item[name] for name in ("correct", "score", "target", "label") if name in item}


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


def p_value(metric: str, before: Sequence[Item], after: Sequence[Item]) -> float:
    """Return the two-sided p-value of a difference on the same items: McNemar's, or by swaps.

    Raises:
        ValueError: If the two do not cover the same number of items.
    """
    if metric == "accuracy":
        return mcnemar_exact(list(map(_is_right, before)), list(map(_is_right, after)))
    classes = _classes([*before, *after])
    features = [_features(metric, items, classes) for items in (before, after)]
    return paired_permutation(features[0], features[1], _STATISTICS[metric], _rng())


def _is_right(item: Item) -> bool:
    return bool(item["correct"])


def _classes(items: Sequence[Item]) -> list[str]:
    """The labels that are wanted or given, for items that name any."""
    named = {item[key] for item in items if "label" in item for key in ("target", "label")}
    # An answer that names no label counts against the one that is wanted alone.
    return sorted(named - {""})


def _features(metric: str, items: Sequence[Item], classes: Sequence[str]) -> Array:
    """What a statistic needs of each item: its score, or whether it has, wants and gives a class.

    The latter is n x 3C: both, wanted, given.
    """
    if metric == "mean_score":
        return np.array([[item["score"]] for item in items], dtype=float)
    names = np.array(classes)
    wanted = np.array([[item["target"]] for item in items]) == names
    given = np.array([[item["label"]] for item in items]) == names
    return np.hstack([wanted & given, wanted, given]).astype(float)


def _mean_score(means: Array) -> Array:
    return means[:, 0]


def _macro_f1(means: Array) -> Array:
    both, wanted, given = np.split(means, 3, axis=1)
    total = wanted + given
    # A difference of sums leaves a trace of rounding where nothing is left.
    occurs = total > 1e-12
    f1 = np.divide(2.0 * both, total, out=np.zeros_like(total), where=occurs)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))


_STATISTICS: dict[str, Statistic] = {"macro_f1": _macro_f1, "mean_score": _mean_score}


def _rng() -> np.random.Generator:
    return np.random.default_rng(_RESAMPLING_SEED)
