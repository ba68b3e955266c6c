"""Honest comparison of accuracies: intervals and exact paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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


def _binomial_test(successes: int, trials: int) -> Any:
    # Imported here: it takes longer than all else that a plan or an error message needs.
    from scipy.stats import binomtest

    return binomtest(successes, trials, 0.5)
