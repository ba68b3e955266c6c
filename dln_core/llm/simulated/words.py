"""Texts as the simulated models' tokens: words, each with the white space before it."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dln_core.llm.simulated.model import OUTSIDE_LOG_PROB, scored
from dln_core.types import Message

# What is said of the words of a context.  A text outside the world gets the rest at its last word,
# so that the sum over its words is the same wherever it is taken to begin.
CONTEXT_LOG_PROB = -1.0
LONGEST_TARGET_WORDS = 16
END = "<|end|>"

Conversation = tuple[Message, ...]
Following = Callable[[Conversation], Mapping[str, float]]


class Token(NamedTuple):
    """A word with its log-prob.

    Attributes:
        text: The word, with the white space before it.
        logprob: In nats; None for the first of a text, before which nothing stands.
        top: Log-probs of the most probable words at its place, where the world tells them.
    """

    text: str
    logprob: float | None
    top: Mapping[str, float] = {}


def split_words(text: str) -> list[str]:
    """Cut a text into words that join to the text again."""
    return re.findall(r"\s*\S+|\s+", text)


def token_id(word: str) -> int:
    """Number of a word: no vocabulary is finite here, so its checksum stands for it."""
    return zlib.crc32(word.encode())


def mark(role: str) -> str:
    """The word that opens a turn of a conversation."""
    return f"<|{role}|>"


def chat_words(messages: Conversation, *, ends: bool, answers: bool) -> list[str]:
    """Write a conversation in the simulated models' chat template.

    Args:
        messages: The conversation.
        ends: Whether its last turn is closed.
        answers: Whether an answer is opened.
    """
    words: list[str] = []
    for message in messages:
        words += [mark(message.role), *split_words(message.text), END]
    if words and not ends:
        words.pop()
    return [*words, mark("assistant")] if answers else words


def read_prompt(after: Callable[[str], Mapping[str, float]], prompt: str) -> list[Token]:
    """Say what the model thinks of each word of a text whose parts are not told apart.

    The longest text at its end that the world gives after what stands before is taken for the
    answer.

    Args:
        after: The world's distribution after a text.
        prompt: The text to read.
    """
    words = split_words(prompt)
    starts = list(itertools.accumulate(map(len, words), initial=0))
    for place in range(max(1, len(words) - LONGEST_TARGET_WORDS), len(words)):
        distribution = after(prompt[: starts[place]])
        if prompt[starts[place] :].strip() in distribution:
            return [*_unread(words[:place]), *target_tokens(distribution, words[place:])]
    if len(words) < 2:
        return _unread(words)
    return [*_unread(words[:-1]), Token(words[-1], OUTSIDE_LOG_PROB + CONTEXT_LOG_PROB)]


def read_chat(
    following: Following, messages: Conversation, *, ends: bool, answers: bool
) -> list[Token]:
    """Say what the model thinks of each word of a conversation, its marks included."""
    words = chat_words(messages, ends=ends, answers=answers)
    if messages[-1].role != "assistant" or len(messages) < 2:
        return _unread(words)
    target = split_words(messages[-1].text)
    start = len(chat_words(messages[:-1], ends=True, answers=True))
    before, after = words[:start], words[start + len(target) :]
    read = target_tokens(following(messages[:-1]), target)
    # A text of the world is whole: after it comes nothing but its end.
    return [*_unread(before), *read, *(Token(word, 0.0) for word in after)]


def target_tokens(distribution: Mapping[str, float], words: Sequence[str]) -> list[Token]:
    """Score the words of an answer, given the world's distribution at its place."""
    if not words:
        return []
    logprobs = scored(distribution, "".join(words).strip()).token_logprobs or ()
    # White space at the end is a word here, but none that a text is longer for.
    padded = [*logprobs, *([0.0] * (len(words) - len(logprobs)))]
    tokens = [Token(word, value) for word, value in zip(words, padded, strict=True)]
    tokens[0] = Token(words[0], padded[0], next_words(distribution, ()))
    return tokens


def spoken_tokens(distribution: Mapping[str, float], text: str) -> list[Token]:
    """Score the words of a text that was generated: each given the ones before it.

    Its end, where it has one, counts with its last word, as it does where texts are scored.
    """
    words, said = split_words(text), text.split()
    tokens: list[Token] = []
    for place, word in enumerate(words):
        top = next_words(distribution, said[:place])
        logprob = top.get(word.strip(), OUTSIDE_LOG_PROB)
        if place == len(said) - 1:
            logprob += next_words(distribution, said).get(END, 0.0)
        tokens.append(Token(word, logprob, top))
    return tokens


def next_words(distribution: Mapping[str, float], said: Sequence[str]) -> dict[str, float]:
    """Log-probs of the words that may follow the words said so far, the most probable first."""
    probabilities: dict[str, float] = {}
    for text, probability in distribution.items():
        words = text.split()
        if words[: len(said)] == list(said) and probability > 0:
            word = words[len(said)] if len(words) > len(said) else END
            probabilities[word] = probabilities.get(word, 0.0) + probability
    total = math.fsum(probabilities.values())
    ranked = sorted(probabilities.items(), key=lambda item: (-item[1], item[0]))
    return {word: min(0.0, math.log(probability / total)) for word, probability in ranked}


def _unread(words: Sequence[str]) -> list[Token]:
    return [Token(word, CONTEXT_LOG_PROB if place else None) for place, word in enumerate(words)]
