"""The worked examples that are most like a question (KATE: nearest-neighbour demonstrations)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from dln_core.types import Demonstration
from dln_core.vi.weights import Array

# Every character that is not a space counts, so that sums and single letters differ too.
TOKENS = r"(?u)\w+|[^\w\s]"
# Similarities are compared at this precision: the order of a sum may not settle a tie.
SIMILARITY_DECIMALS = 9
# A pool belongs to a task and a split, of which one process sees a few at a time.
MAX_POOLS = 8


def nearest(query: str, pool: Sequence[Demonstration], count: int) -> list[Demonstration]:
    """Choose the demonstrations whose inputs are most like a question.

    Likeness is the cosine of TF-IDF vectors over the pool.  Of equally similar ones the earlier in
    the pool is chosen first.

    Args:
        query: The question.
        pool: What to choose from; those whose input equals the question are left out.
        count: How many; fewer come back if the pool holds fewer.

    Returns:
        The demonstrations, the most similar last, where it stands closest to the question.

    Source: Liu et al. 2022, What Makes Good In-Context Examples for GPT-3?
    """
    if count <= 0 or not pool:
        return []
    similarities = np.round(_similarity_to(tuple(pool))(query), SIMILARITY_DECIMALS)
    asked = _normalized(query)
    order = np.argsort(-similarities, kind="stable")
    others = (pool[i] for i in order if _normalized(pool[i].input) != asked)
    return list(itertools.islice(others, count))[::-1]


@functools.lru_cache(maxsize=MAX_POOLS)
def _similarity_to(pool: tuple[Demonstration, ...]) -> Callable[[str], Array]:
    """Fit a pool; the function that is returned gives a question's likeness to each of it."""
    # Importing it takes more than a second, which only networks with such shots should wait for.
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [demonstration.input for demonstration in pool]
    if not any(text.split() for text in texts):
        return lambda query: np.zeros(len(texts))
    vectorizer = TfidfVectorizer(token_pattern=TOKENS)
    vectors = vectorizer.fit_transform(texts)
    return lambda query: (vectors @ vectorizer.transform([query]).T).toarray()[:, 0]


def _normalized(text: str) -> str:
    return " ".join(text.split())
