"""CPU time of the numerics of one training step: all that is computed from log-probs, no model.

The step is that of two layers with one hidden text between them: B = 20 examples, K = 5 hidden
samples, N = 26 candidates of each layer (20 new ones, the current one, 5 remembered) and C = 4
labels.  Each line is the median over 20 steps of random log-probs, in milliseconds of CPU time.
Run: ``python benchmarks/numerics.py``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from dln_core.vi.calibration import divide_out, label_prior
from dln_core.vi.elbo import elbo, expectation, importance_weighted_bound
from dln_core.vi.joint import most_probable, pairs
from dln_core.vi.racing import clearly_behind, rounds
from dln_core.vi.selection import Penalties, rewards, select
from dln_core.vi.trust_region import kl_divergence
from dln_core.vi.weights import effective_sample_size, log_softmax, sharpen

B, K, N, C = 20, 5, 26, 4
NUM_REPEATS = 20
PENALTIES = Penalties(trust_factor=1.0, exploration=1.0, length_penalty=0.001)


def step(rng: np.random.Generator) -> Iterator[str]:
    """Compute one training step; name each part when it is done."""
    prior, likelihood, guide = rng.normal(-60, 9, (3, B, K))
    hidden = rng.normal(-60, 9, (N, B, K))  # Hidden texts under each candidate of layer 1.
    labels = rng.normal(-3, 1, (N, B, K, C))  # Labels after them under each candidate of layer 2.
    avoided, tokens, first = rng.normal(-60, 9, N), rng.uniform(20, 400, N), np.zeros(K, np.intp)
    yield "arrays"
    weights = sharpen(prior + likelihood - guide)
    effective_sample_size(weights).mean()
    yield "weights"
    joint = [most_probable([row], limit=K) for row in weights]
    written = [pairs(i[:, 0], w, first[: len(w)], 1, K).ravel() for i, w in joint]
    read = [pairs(first[: len(w)], w, i[:, 0], K, 1).ravel() for i, w in joint]
    yield "joint configurations"
    priors = np.array([label_prior(candidate.reshape(-1, C)) for candidate in labels])
    labels = divide_out(labels, priors[:, np.newaxis, np.newaxis])
    yield "calibration"
    hidden = log_softmax(hidden)
    objectives = [
        np.stack([expectation(w, hidden[:, b]) for b, w in enumerate(written)], axis=1),
        np.stack([expectation(w, labels[:, b, :, 0]) for b, w in enumerate(read)], axis=1),
    ]
    yield "expectations"
    divergence = kl_divergence(labels[:1], labels).mean(axis=(1, 2))
    yield "divergences"
    for scores in objectives:
        for count in rounds(5, B):
            clearly_behind(scores[:, :count])
    yield "racing"
    costs = {"divergence": divergence, "avoided": avoided, "num_tokens": tokens}
    for scores in objectives:
        select(rewards(scores.mean(axis=1), penalties=PENALTIES, **costs))
    yield "rewards and selection"
    elbo(weights, prior + likelihood).mean()
    importance_weighted_bound(prior + likelihood - guide).mean()
    yield "bounds"


if __name__ == "__main__":
    spent: dict[str, list[float]] = defaultdict(list)
    for repeat in range(NUM_REPEATS + 1):
        last = time.process_time()
        for part in step(np.random.default_rng(repeat)):
            now = time.process_time()
            spent[part].append(1000 * (now - last))
            last = now
    # The first step imports what the later ones use, and random arrays are no part of any.
    medians = {part: np.median(values[1:]) for part, values in spent.items() if part != "arrays"}
    for part, milliseconds in {**medians, "whole step": sum(medians.values())}.items():
        print(f"{part:<24}{milliseconds:8.2f} ms")
