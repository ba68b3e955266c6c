"""Seeds: every random choice of a trial is a function of its seed and of what is chosen."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Choice(IntEnum):
    """What a random choice is made for; part of every seed."""

    batch = 1
    hidden = 2
    proposal = 3
    shots = 4
    rollout = 5
    pretest = 6


def generator(seed: int, step: int, choice: Choice, index: int = 0) -> np.random.Generator:
    """A generator that no other (seed, step, choice, index) shares."""
    return np.random.default_rng(np.random.SeedSequence([seed, step, choice, index]))


def sampling_seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Seeds for language model samples, one a sample, as endpoints take them (31 bits)."""
    return [int(value) for value in rng.integers(0, 2**31 - 1, size=count)]
