"""Racing: candidates that are clearly behind are not scored on the rest of the batch.

Axes: ``N`` candidates, ``B`` examples scored so far.

Source: Maron and Moore 1997, The Racing Algorithm, with paired tests as in Birattari et al. 2002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dln_core.vi.weights import Array, as_log_values


def clearly_behind(scores: Array, *, confidence: float = 0.95) -> NDArray[np.bool_]:
    """Which candidates are significantly worse than the leader on the same examples.

    The leader has the highest mean, the first of equals.  Another candidate is behind if a paired
    one-sided t-test of (leader - candidate) rejects equality.  Where all differences are equal, it
    is behind if they are above 0.  A mean of -inf is behind any finite one.

    The confidence is that of one comparison of two candidates: the leader of N equal ones leads by
    chance, so each of the others drops out more often than that.

    Args:
        scores: N x B, higher is better.
        confidence: Confidence of each test.

    Returns:
        N booleans, none true if B < 2.

    Raises:
        ValueError: If there is no candidate, a score is NaN or +inf, or the confidence is not
            between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    values = as_log_values("scores", scores)
    num_candidates, num_examples = values.shape
    if num_candidates == 0:
        raise ValueError("there is no candidate to race")
    if num_examples < 2:
        return np.zeros(num_candidates, dtype=np.bool_)
    means = values.mean(axis=1)
    leader = int(np.argmax(means))
    possible = np.isfinite(means)
    behind: NDArray[np.bool_] = ~possible & possible[leader]
    behind[possible] = _rejects_equality(values[leader] - values[possible], confidence)
    return behind


def rounds(first: int, total: int) -> list[int]:
    """Number of examples scored after each round: ``first``, twice that, and so on to ``total``.

    A last round of less than half of ``first`` is merged into the one before it.  Without examples
    there is no round.

    Raises:
        ValueError: If ``first`` is below 1 or ``total`` is negative.
    """
    if first < 1 or total < 0:
        raise ValueError(f"a race of {total} examples cannot begin with {first}")
    counts: list[int] = []
    count = first
    while 2 * (total - count) >= first:
        counts.append(count)
        count *= 2
    return [*counts, total] if total else []


def _rejects_equality(differences: Array, confidence: float) -> NDArray[np.bool_]:
    """One-sided one-sample t-test of each row's mean against 0."""
    num_examples = differences.shape[1]
    mean = differences.mean(axis=1)
    error = differences.std(axis=1, ddof=1) / np.sqrt(num_examples)
    varies = error > 0
    statistic = mean / np.where(varies, error, 1.0)
    p_value = student_tail(num_examples - 1, statistic)
    result: NDArray[np.bool_] = np.where(varies, p_value < 1 - confidence, mean > 0)
    return result


def student_tail(degrees: int, statistic: Array) -> Array:
    """Probability that Student's t exceeds each statistic.

    It is the finite sum for whole degrees of freedom, since importing ``scipy.special`` would cost
    every trainer 28 MB and 0.3 s.  The error is absolute, about 1e-15: enough to compare with a
    level, not to tell how tiny a probability is.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = np.arctan(statistic / np.sqrt(degrees))
    cosine = np.cos(angle)
    is_odd = degrees % 2
    term = cosine if is_odd else np.ones_like(cosine)
    total = np.zeros_like(cosine)
    for power in range(1 + is_odd, degrees, 2):
        total += term
        term = term * cosine**2 * power / (power + 1)
    inside = np.sin(angle) * total
    if is_odd:
        inside = 2 / np.pi * (angle + inside)
    result: Array = (1 - inside) / 2
    return result
