"""Drawing the next token of a continuation."""

from __future__ import annotations

import numpy as np

from dln_core.llm.local.model import Logits
from dln_core.llm.local.tokens import Tokens

# The nucleus is searched among this many tokens first.
_NUCLEUS_TOKENS = 1024
_SUMMED_TOKENS = 512


def sample(logits: Logits, temperature: float, top_p: float, rng: np.random.Generator) -> int:
    """Draw a token from softmax(logits / temperature), cut to the nucleus of ``top_p``."""
    if temperature == 0.0:
        return int(logits.argmax())
    scaled = (logits - logits.max()) / np.float32(temperature)
    weights = np.exp(scaled)
    if top_p < 1.0:
        kept = _nucleus(weights, top_p)
        return int(kept[_draw(weights[kept], rng)])
    return _draw(weights, rng)


def _draw(weights: Logits, rng: np.random.Generator) -> int:
    """Draw an index in proportion to its weight."""
    # The sum of a vocabulary one by one would take longer than its exponentials.
    starts = np.arange(0, len(weights), _SUMMED_TOKENS)
    ends = np.add.reduceat(weights, starts, dtype=np.float64).cumsum()
    level = rng.random() * ends[-1]
    part = min(int(np.searchsorted(ends, level, side="right")), len(starts) - 1)
    first = int(starts[part])
    cumulated = weights[first : first + _SUMMED_TOKENS].cumsum(dtype=np.float64)
    before = ends[part - 1] if part else 0.0
    place = int(np.searchsorted(cumulated, level - before, side="right"))
    return first + min(place, len(cumulated) - 1)


def _nucleus(weights: Logits, top_p: float) -> Tokens:
    """Return the fewest tokens, most probable first, that hold ``top_p`` of the weight."""
    bound = top_p * float(weights.sum(dtype=np.float64))
    # Sorting the whole vocabulary would take longer than the model's step.
    size = min(_NUCLEUS_TOKENS, len(weights))
    kept = np.argpartition(-weights, size - 1)[:size]
    if float(weights[kept].sum(dtype=np.float64)) < bound:
        kept = np.arange(len(weights))
    ranked = kept[np.argsort(-weights[kept], kind="stable")]
    count = int(np.searchsorted(weights[ranked].cumsum(dtype=np.float64), bound)) + 1
    return ranked[:count].astype(np.int32)
