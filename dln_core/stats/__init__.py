"""Honest comparison: intervals and paired tests of accuracies and of other means."""

from dln_core.stats.intervals import (
    bootstrap_interval,
    paired_bootstrap,
    t_interval,
    wilson_interval,
)
from dln_core.stats.paired import mcnemar_exact, paired_permutation, sign_flip_exact
from dln_core.stats.resampling import MAX_EXACT_SWAPS, NUM_RESAMPLES, Statistic
from dln_core.stats.several import holm

__all__ = [
    "MAX_EXACT_SWAPS",
    "NUM_RESAMPLES",
    "Statistic",
    "bootstrap_interval",
    "holm",
    "mcnemar_exact",
    "paired_bootstrap",
    "paired_permutation",
    "sign_flip_exact",
    "t_interval",
    "wilson_interval",
]
