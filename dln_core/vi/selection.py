"""What candidate prompts are worth, which one is kept, and how many of each kind are made.

Axes: ``N`` candidates, ``B`` examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dln_core.vi.weights import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalties:
    """What is taken off a candidate's objective; a factor of 0 switches its term off.

    Attributes:
        trust_factor: Weight of the divergence from the current prompt.
        exploration: Weight of the log-prob of avoided texts.
        length_penalty: Nats that a token of the prompt costs.
    """

    trust_factor: float = 0.0
    exploration: float = 0.0
    length_penalty: float = 0.0


def rewards(
    objective: Array, *, divergence: Array, avoided: Array, num_tokens: Array, penalties: Penalties
) -> Array:
    """Rewards of N candidates: the objective less what each is penalised for, in nats.

    Args:
        objective: Expected log-prob.
        divergence: KL(current, candidate).
        avoided: Log-prob of the texts to move away from.
        num_tokens: Length of the prompt.
        penalties: Weights of the last three.
    """
    result = np.array(objective, dtype=np.float64)
    terms = (
        (penalties.trust_factor, divergence),
        (penalties.exploration, avoided),
        (penalties.length_penalty, num_tokens),
    )
    for factor, term in terms:
        # 0 times the -inf of an impossible text is NaN.
        if factor != 0:
            result -= factor * np.asarray(term, dtype=np.float64)
    return result


def select(rewards: Array) -> int:
    """Index of the highest reward; of equal rewards the first, where the current prompt stands.

    Raises:
        ValueError: If there is no candidate or a reward is NaN.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there is no candidate to select from")
    if np.isnan(values).any():
        raise ValueError(f"a reward is not a number: {values.tolist()}")
    return int(np.argmax(values))


def comparable_examples(contained: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which examples may rank the candidates: those that none of them shows as worked examples.

    Args:
        contained: N x B, true where candidate n shows example b.

    Returns:
        B booleans.
    """
    result: NDArray[np.bool_] = np.logical_not(np.any(contained, axis=0))
    return result


def decayed(factor: float, step: int, num_iterations: int) -> float:
    """Linear decay of a factor from its full value at the first step (1) towards 0."""
    return factor * max(0.0, 1.0 - (step - 1) / num_iterations)


def allocate(count: int, shares: Sequence[float]) -> list[int]:
    """Divide a count among kinds in proportion to their shares, by largest remainder.

    Of equal remainders the first kinds get one more.  A share of 0 gets nothing.

    Raises:
        ValueError: If the count or a share is negative, a share is not finite, or none is above 0.
    """
    if count < 0:
        raise ValueError(f"the count to divide must not be negative, got {count}")
    if not np.isfinite(shares).all() or min(shares, default=0) < 0 or sum(shares) == 0:
        raise ValueError(
            f"shares must be finite and not negative, with one above 0; got {list(shares)}"
        )
    # Exact decimals: in doubles, remainders that are equal on paper differ by rounding.
    exact = [Fraction(str(float(share))) for share in shares]
    whole = sum(exact)
    quotas = [count * share / whole for share in exact]
    result = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: result[i] - quotas[i])
    for index in by_remainder[: count - sum(result)]:
        result[index] += 1
    return result
