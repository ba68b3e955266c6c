"""A language model that samples from, and scores under, the distribution of a world."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import anyio.lowlevel
import numpy as np

from dln_core.errors import ScoringError
from dln_core.llm.base import Choice, GenerateRequest, LanguageModel, Request, Response
from dln_core.llm.simulated.draws import digest
from dln_core.types import Usage

# Log-probability (nats) of a text outside the world's distribution, beside one nat a word, so that
# scores stay finite and longer texts are less probable.
OUTSIDE_LOG_PROB = -20.0


class World(Protocol):
    """What the simulated model believes."""

    def distribution(self, request: Request) -> Mapping[str, float]:
        """Return the probability of every text that may follow; they sum to one."""
        ...


class SimulatedModel:
    """A language model that samples from, and scores under, the distribution of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, request: Request) -> Response:
        """Answer one request; equal requests get equal answers."""
        await anyio.lowlevel.checkpoint()
        distribution = self._world.distribution(request)
        prompt_tokens = sum(num_words(message.text) for message in request.messages)
        if isinstance(request, GenerateRequest):
            text = sample(distribution, request)
            usage = Usage(prompt_tokens, num_words(text))
            return Response((Choice(text),), usage)
        choices = tuple(scored(distribution, target) for target in request.targets)
        return Response(choices, Usage(prompt_tokens, sum(map(num_words, request.targets))))


class WithoutScores:
    """A transport that scores no better than an endpoint on a lower rung of the ladder would.

    Args:
        inner: A model that scores everything.
        rung: ``label`` scores single words alone, ``monte_carlo`` nothing.
    """

    def __init__(self, inner: LanguageModel, rung: str) -> None:
        self._inner = inner
        self._rung = rung

    async def send(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            ScoringError: If the rung cannot score a target.
        """
        if isinstance(request, GenerateRequest):
            return await self._inner.send(request)
        for target in request.targets:
            if self._rung == "monte_carlo":
                raise ScoringError(
                    "the simulated model gives no log-probs (rung monte_carlo), but was asked to "
                    "score texts; estimate them from samples"
                )
            if num_words(target) > 1:
                raise ScoringError(
                    f"{target!r:.80} has more than one word, but next-token log-probs (rung label) "
                    "reach no further than the first; use labels of one word, or another rung"
                )
        return await self._inner.send(request)


def num_words(text: str) -> int:
    """Tokens of the simulated models: words, at least one."""
    return max(1, len(text.split()))


def sample(distribution: Mapping[str, float], request: GenerateRequest) -> str:
    """Draw the text that follows, by the request's temperature and seed."""
    texts = sorted(distribution)
    log_probs = np.log(np.maximum([distribution[text] for text in texts], 1e-300))
    if request.temperature == 0:
        return texts[int(np.argmax(log_probs))]
    scaled = log_probs / request.temperature
    probs = np.exp(scaled - scaled.max())
    seed = digest(request.seed, *(message.text for message in request.messages))
    return texts[int(np.random.default_rng(seed).choice(len(texts), p=probs / probs.sum()))]


def scored(distribution: Mapping[str, float], target: str) -> Choice:
    """Score a text; its log-prob is spread evenly over its words."""
    probability = distribution.get(target, 0.0)
    length = num_words(target)
    logprob = math.log(probability) if probability > 0 else OUTSIDE_LOG_PROB - length
    return Choice(target, (logprob / length,) * length)
