"""Language models whose distribution is known: for dry runs, tests and exact checks.

A world gives the whole distribution over the texts that may follow a conversation, so every
expectation can be enumerated.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import anyio.lowlevel
import numpy as np

from dln_core.errors import ScoringError
from dln_core.llm.base import Choice, GenerateRequest, LanguageModel, Request, Response
from dln_core.types import Message, Usage

# Log-probability (nats) of a text outside the world's distribution, beside one nat a word, so that
# scores stay finite and longer texts are less probable.
OUTSIDE_LOG_PROB = -20.0
DEMONSTRATION_WEIGHT = 6.0
LONG_TEXT_TOKENS = 48

STOCK_SENTENCES = (
    "Read the text twice and name the single fact that decides the answer.",
    "Look for the words that the worked answers have in common.",
    "Decide by what is reported, not by the tone in which it is written.",
    "Compare each possible answer with the text and keep the one that fits all of it.",
    "Break the question into small steps and settle them one after another.",
    "Answer with one of the given labels and nothing else.",
    "Check the details that are easily overlooked before answering.",
    "When two answers seem right, prefer the more specific one.",
)


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
            text = _sample(distribution, request)
            usage = Usage(prompt_tokens, num_words(text))
            return Response((Choice(text),), usage)
        choices = tuple(_scored(distribution, target) for target in request.targets)
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


class InContextReader:
    """A world that learns from worked examples by their likeness to the question.

    It knows nothing of any task: the labels it thinks of are the options and capitalised words it
    reads and the answers shown to it.  An answer gains by every worked example that gave it and
    shares words with the question, so prompts that show fitting examples really do better.
    """

    def distribution(self, request: Request) -> Mapping[str, float]:
        """Return the probability of every text that may follow."""
        question = request.messages[-1].text
        if isinstance(request, GenerateRequest) and request.max_tokens >= LONG_TEXT_TOKENS:
            return _normalized({s: _noise(question, s, 2.0) for s in STOCK_SENTENCES})
        shown = _worked_examples(request.messages)
        texts = {answer for _, answer in shown} | set(_options(request.messages))
        log_weights = {}
        for text in sorted(texts) or list(STOCK_SENTENCES):
            support = sum(_likeness(question, asked) for asked, answer in shown if answer == text)
            log_weights[text] = _noise(question, text, 1.0) + DEMONSTRATION_WEIGHT * support
        return _normalized(log_weights)


def num_words(text: str) -> int:
    """Tokens of the simulated models: words, at least one."""
    return max(1, len(text.split()))


def _sample(distribution: Mapping[str, float], request: GenerateRequest) -> str:
    texts = sorted(distribution)
    log_probs = np.log(np.maximum([distribution[text] for text in texts], 1e-300))
    if request.temperature == 0:
        return texts[int(np.argmax(log_probs))]
    scaled = log_probs / request.temperature
    probs = np.exp(scaled - scaled.max())
    seed = _digest(request.seed, *(message.text for message in request.messages))
    return texts[int(np.random.default_rng(seed).choice(len(texts), p=probs / probs.sum()))]


def _scored(distribution: Mapping[str, float], target: str) -> Choice:
    probability = distribution.get(target, 0.0)
    length = num_words(target)
    logprob = math.log(probability) if probability > 0 else OUTSIDE_LOG_PROB - length
    return Choice(target, (logprob / length,) * length)


def _worked_examples(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [
        (asked.text, answer.text)
        for asked, answer in itertools.pairwise(messages)
        if answer.role == "assistant"
    ]


def _options(messages: Sequence[Message]) -> list[str]:
    options = re.findall(r"\([A-R]\)", messages[-1].text)
    if options:
        return options
    instruction = messages[0].text.split("\n\n")[0]
    named = re.findall(r"(?<=\s)[A-Z][a-z]+\b", instruction)
    return named or re.findall(r"\b\d+\b", messages[-1].text)


def _likeness(a: str, b: str) -> float:
    left, right = set(re.findall(r"\w+", a.lower())), set(re.findall(r"\w+", b.lower()))
    return len(left & right) / max(1, len(left | right))


def _noise(question: str, text: str, scale: float) -> float:
    return scale * (_digest(question, text) / 2**64 - 0.5)


def _digest(*parts: object) -> int:
    joined = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(joined.encode()).digest()[:8], "big")


def _normalized(log_weights: Mapping[str, float]) -> dict[str, float]:
    peak = max(log_weights.values())
    weights = {text: math.exp(value - peak) for text, value in log_weights.items()}
    total = math.fsum(weights.values())
    return {text: weight / total for text, weight in weights.items()}
