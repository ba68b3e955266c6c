"""How much prompts matter: what the best of several gains, and how two layers' prompts interact.

Axes: ``P`` prompts, ``F`` prompts of a first layer, ``G`` of a last one, ``n`` items.  Values are
what an answer is worth, from 0 to 1; the first prompt of each axis is the initial one.

A bootstrap would be too sure of few items: prompts that answer ten of them alike would differ by
exactly 0, with the interval [0, 0].  Here a bound above a mean is a quantile of means over the
items and one more, which is the most that an item may be, with random weights from a flat Dirichlet
distribution; a bound below has the least instead.  For values that are 0 or 1 that is
Clopper-Pearson's exact bound.  For others that it holds is a conjecture which no simulation has
refuted.

Source: Gaffke 2005, Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable; Learned-Miller and Thomas 2020, A new confidence interval for the mean of a
bounded random variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dln_core.stats.resampling import blocks
from dln_core.vi.weights import Array

_RESAMPLING_SEED = 0
# Probability that an interval lies above what it is to cover, and that it lies below.
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over items, with its 95 % interval."""

    mean: float
    low: float
    high: float


def gain(values: Array) -> Difference:
    """What the best other prompt gains over the initial one, free of the luck of being chosen.

    The mean: the other prompt that is best on one half of the items is compared with the initial
    one on the other half, and the other way round.

    The interval: it covers what the best of the others gains on all items that there might be,
    whichever that is, and is not blind to a choice that differs from half to half.  The best gains
    at least what any of them does, so the highest lower bound is taken; for all of these to hold at
    once they share their tail (Bonferroni).  The highest upper bound is no lower than that of the
    best, so these need not share it (Berger).

    Args:
        values: P x n, at least two prompts; items in random order, at least two.

    Source: Stone 1974, Cross-validatory choice and assessment of statistical predictions; Berger
    1982, Multiparameter hypothesis testing and acceptance sampling.
    """
    differences = values[1:] - values[0]
    halves = (np.arange(values.shape[1]) % 2).astype(bool)
    judged = np.empty(values.shape[1])
    for half in (halves, ~halves):
        best = int(differences[:, ~half].mean(axis=1).argmax())
        judged[half] = differences[best, half]
    mean = float(judged.mean())
    lows, highs = _bounds(differences, 1.0, _TAIL / len(differences), _TAIL)
    # What one half chooses may do badly on the other; a wider interval covers no less.
    return Difference(mean, min(mean, float(lows.max())), max(mean, float(highs.max())))


@dataclass(frozen=True, slots=True)
class Interaction:
    """The pair of prompts that differs most from the sum of what each does alone.

    Attributes:
        first: Index of the first layer's prompt.
        last: Index of the last layer's prompt.
        contrast: Both changed, minus the first, minus the last, plus neither.
    """

    first: int
    last: int
    contrast: Difference


def interaction(values: Array) -> Interaction:
    """Find the strongest interaction of two layers' prompts.

    The interval holds for all pairs at once (Bonferroni), so also for the one that was chosen.

    Args:
        values: F x G x n, at least two prompts a layer.
    """
    contrasts = values[1:, 1:] - values[1:, :1] - values[:1, 1:] + values[:1, :1]
    means = contrasts.mean(axis=2)
    first, last = np.unravel_index(int(np.abs(means).argmax()), means.shape)
    tail = _TAIL / means.size
    # Four answers make a contrast: two may be right where the other two are wrong.
    lows, highs = _bounds(contrasts[first, last][None], 2.0, tail, tail)
    contrast = Difference(float(means[first, last]), float(lows[0]), float(highs[0]))
    return Interaction(int(first) + 1, int(last) + 1, contrast)


def _bounds(
    values: Array, span: float, tail_below: float, tail_above: float
) -> tuple[Array, Array]:
    """Bounds below and above the means of rows, K and K, the same in every run.

    Args:
        values: K x n, from -span to span.
        span: The most that a value may be.
        tail_below: Probability at which a bound below may lie above its mean.
        tail_above: The same of a bound above that lies below it.
    """
    rng = np.random.default_rng(_RESAMPLING_SEED)
    means, extremes = [], []
    for size in blocks(values.shape[1] + 1):
        weights = rng.standard_exponential((size, values.shape[1] + 1))
        weights /= weights.sum(axis=1, keepdims=True)
        means.append(weights[:, :-1] @ values.T)
        extremes.append(span * weights[:, -1:])
    inner, extreme = np.concatenate(means), np.concatenate(extremes)
    lows = np.quantile(inner - extreme, tail_below, axis=0)
    highs = np.quantile(inner + extreme, 1.0 - tail_above, axis=0)
    # Weights add up to one but for rounding.
    return np.maximum(lows, -span), np.minimum(highs, span)
