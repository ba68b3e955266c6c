"""The world that ``llm=simulated`` lives in."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from dln_core.llm.base import GenerateRequest, Request
from dln_core.llm.simulated.draws import digest
from dln_core.types import Message

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
    return scale * (digest(question, text) / 2**64 - 0.5)


def _normalized(log_weights: Mapping[str, float]) -> dict[str, float]:
    peak = max(log_weights.values())
    weights = {text: math.exp(value - peak) for text, value in log_weights.items()}
    total = math.fsum(weights.values())
    return {text: weight / total for text, weight in weights.items()}
