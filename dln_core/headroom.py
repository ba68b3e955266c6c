"""How much prompts matter: what the best of several gains, and how two layers' prompts interact.

Axes: ``P`` prompts, ``F`` prompts of a first layer, ``G`` of a last one, ``n`` items.  Values are
what an answer is worth, from 0 to 1; the first prompt of each axis is the initial one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dln_core.stats import bootstrap_interval
from dln_core.vi.weights import Array

_RESAMPLING_SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over items, with its interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array, confidence: float = 0.95) -> Difference:
        """Make the mean of n differences and its bootstrap interval, the same in every run."""
        rng = np.random.default_rng(_RESAMPLING_SEED)
        low, high = bootstrap_interval(
            values[:, None], lambda means: means[:, 0], rng, confidence=confidence
        )
        return cls(float(values.mean()), low, high)


def gain(values: Array) -> Difference:
    """What the best prompt gains over the initial one, free of the luck of having been chosen.

    The best one on one half of the items is compared with the initial one on the other half, and
    the other way round.

    Args:
        values: P x n, items in random order, at least two.

    Source: Stone 1974, Cross-validatory choice and assessment of statistical predictions.
    """
    differences = np.empty(values.shape[1])
    halves = (np.arange(values.shape[1]) % 2).astype(bool)
    for half in (halves, ~halves):
        best = int(values[:, ~half].mean(axis=1).argmax())
        differences[half] = values[best, half] - values[0, half]
    return Difference.of(differences)


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
    means = np.abs(contrasts.mean(axis=2))
    first, last = np.unravel_index(int(means.argmax()), means.shape)
    confidence = 1.0 - 0.05 / means.size
    contrast = Difference.of(contrasts[first, last], confidence)
    return Interaction(int(first) + 1, int(last) + 1, contrast)
