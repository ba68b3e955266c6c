"""A simulated model for benchmarks: it writes endlessly many different texts and costs little."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from dln_core.llm.base import GenerateRequest, Request

ANSWERS = ("Yes", "No")
# Requests for at least so many tokens are for a proposal.
PROPOSAL_TOKENS = 200
# The simulated server knows answers of at most 16 words again in an echo.
HIDDEN_WORDS, PROPOSAL_WORDS = 15, 60
POOL, WINDOW, ANSWER_SHARE = 400, 48, 0.02


class Window(Mapping[str, float]):
    """Some of the pool's texts and, less probable, the answers; nothing is built in advance."""

    def __init__(self, pool: Mapping[str, int], digest: bytes) -> None:
        self._pool = pool
        self._start = int.from_bytes(digest[:4], "big") % (len(pool) - WINDOW)
        total = sum(digest[4:6]) + 2
        self._answers = {"Yes": (digest[4] + 1) / total, "No": (digest[5] + 1) / total}

    def __getitem__(self, text: str) -> float:
        if text in self._answers:
            return ANSWER_SHARE * self._answers[text]
        if 0 <= self._pool[text] - self._start < WINDOW:
            return (1.0 - ANSWER_SHARE) / WINDOW
        raise KeyError(text)

    def __iter__(self) -> Iterator[str]:
        yield from itertools.islice(self._pool, self._start, self._start + WINDOW)
        yield from self._answers

    def __len__(self) -> int:
        return WINDOW + len(self._answers)


class Babble:
    """A model that writes one of some dozen senseless texts, other ones after every question."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._hidden, self._proposals = pool(HIDDEN_WORDS, rng), pool(PROPOSAL_WORDS, rng)

    def distribution(self, request: Request) -> Mapping[str, float]:
        """A window of the texts, by the question alone."""
        question = request.messages[-1].text
        if "capital" in question:
            # The probe of what the endpoint can do asks for something short.
            return {"Tokyo": 0.9, "Kyoto": 0.1}
        is_long = isinstance(request, GenerateRequest) and request.max_tokens >= PROPOSAL_TOKENS
        texts = self._proposals if is_long else self._hidden
        return Window(texts, hashlib.sha256(question.encode()).digest())


def pool(num_words: int, rng: np.random.Generator) -> dict[str, int]:
    """Distinct texts of so many words, with their numbers."""
    words = [f"w{number:x}" for number in range(500)]
    return {" ".join(rng.choice(words, num_words)): number for number in range(POOL)}
