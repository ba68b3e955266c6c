"""How the copies of a layer come to one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.llm.base import Choice
from dln_core.vi.weights import Array, log_softmax


@dataclass(frozen=True, slots=True)
class Answer:
    """What one copy of the answering layer, or all of them together, say.

    Attributes:
        text: The answer.
        label_logprobs: Log-probs (nats) of the example's labels; None for free text.
        weight: Weight of the text in a vote by probability.
    """

    text: str
    label_logprobs: Array | None = None
    weight: float = 1.0


def join_answers(answers: Sequence[Answer], labels: Sequence[str], join: str | None) -> Answer:
    """Let copies vote.

    With labels their log-probs are those of the mixture of all copies, whatever the vote.

    Args:
        answers: One a copy; a single one stands for itself.
        labels: What the log-probs belong to; empty for free text.
        join: ``vote`` adds up probabilities, ``majority`` counts answers; of equal ones the first
            said wins, or with labels the more probable.
    """
    if len(answers) == 1:
        return answers[0]
    known = [answer.label_logprobs for answer in answers if answer.label_logprobs is not None]
    if len(known) < len(answers):
        weights = [answer.weight if join == "vote" else 1.0 for answer in answers]
        return Answer(most_frequent([answer.text for answer in answers], weights))
    mixture = log_softmax(np.logaddexp.reduce(np.array(known), axis=0))
    if join == "vote":
        return Answer(labels[int(np.argmax(mixture))], mixture)
    counts = [sum(answer.text == label for answer in answers) for label in labels]
    # Equal counts are decided by the mixture, whose probabilities are below one.
    best = int(np.argmax(np.array(counts) + 0.5 * np.exp(mixture)))
    return Answer(labels[best], mixture)


def most_frequent(texts: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """The text of highest total weight, the first of equals.

    Texts that differ only in letter case, spaces and a final stop count as one.
    """
    totals: dict[str, float] = {}
    first: dict[str, str] = {}
    for text, weight in zip(texts, weights or [1.0] * len(texts), strict=True):
        key = " ".join(text.lower().split()).rstrip(".")
        totals[key] = totals.get(key, 0.0) + weight
        first.setdefault(key, text)
    return first[max(totals, key=lambda key: totals[key])]


def label_log_probs(choices: Sequence[Choice]) -> Array:
    """Log-probs (nats) of labels, normalised over the labels that were scored."""
    return log_softmax(np.array([choice.logprob for choice in choices]))
