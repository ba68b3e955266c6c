"""Random choices that come out the same on every machine and with every version of NumPy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Choices drawn from the raw bits of PCG64.

    NumPy promises these bits to stay the same; how its generators turn them into integers,
    samples and permutations may change with any version.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        """Start a stream of its own for each seed and purpose."""
        digest = hashlib.sha256(purpose.encode()).digest()
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(digest[:8])]))

    def below(self, end: int) -> int:
        """Draw an integer from 0 to end - 1."""
        # The remainder prefers small numbers by less than end / 2**64.
        return self._bits.random_raw() % end

    def between(self, low: int, high: int) -> int:
        """Draw an integer from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Say yes in so many of a hundred cases."""
        return self.below(100) < percent

    def pick(self, values: Sequence[T]) -> T:
        """Draw one of the values."""
        return values[self.below(len(values))]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """Return the values in a random order."""
        return self.sample(values, len(values))

    def sample(self, values: Sequence[T], count: int) -> list[T]:
        """Draw so many different values; their order is random."""
        left = list(values)
        for place in range(count):
            other = self.between(place, len(left) - 1)
            left[place], left[other] = left[other], left[place]
        return left[:count]
