"""Continuations of a context, each with a seed of its own."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from dln_core.llm.local.echo import TopTokens
from dln_core.llm.local.model import Distribution
from dln_core.llm.local.sampling import sample
from dln_core.llm.local.scheduler import Reading
from dln_core.llm.local.tokens import Tokenizer, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateJob:
    """Ask for one continuation.

    Attributes:
        context: At least one token.
        max_tokens: Upper bound on the new tokens, at least 1.
        temperature: 0 takes the most probable token every time.
        top_p: Share of the probability that may be sampled.
        seed: Numbers that fix the sample.
        stop: Strings that end the continuation; they are not part of it.
        num_top: How many of the most probable tokens are named at each place.
    """

    context: Tokens
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: tuple[int, ...] = (0,)
    stop: tuple[str, ...] = ()
    num_top: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """A continuation, or a part of one.

    Attributes:
        text: Without the stop string or the token that ended it.
        tokens: The tokens of the text; with a stop string, also those that it stands in.
        logprobs: Their log-probs in nats under the model itself, whatever the temperature.
        top: The most probable tokens at each place with their log-probs.
        finish_reason: ``stop`` or ``length``; empty while it goes on.
        num_sampled: Tokens that the model gave, the one that ended the text included.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    top: tuple[TopTokens, ...]
    finish_reason: str
    num_sampled: int

    def after(self, earlier: Generated) -> Generated:
        """Return what was added to an earlier state of the same continuation."""
        known = len(earlier.tokens)
        return Generated(
            text=self.text[len(earlier.text) :],
            tokens=self.tokens[known:],
            logprobs=self.logprobs[known:],
            top=self.top[known:],
            finish_reason=self.finish_reason,
            num_sampled=self.num_sampled - earlier.num_sampled,
        )


NOTHING = Generated("", (), (), (), "", 0)


@dataclass(slots=True, eq=False)
class GenerateTask:
    """A continuation in the making.

    Attributes:
        job: What is asked.
        tokenizer: Tells which tokens end a text and what they stand for.
    """

    job: GenerateJob
    tokenizer: Tokenizer
    readings: list[Reading] = field(default_factory=list)
    _rng: np.random.Generator = field(init=False)
    _tokens: list[int] = field(default_factory=list)
    _logprobs: list[float] = field(default_factory=list)
    _top: list[TopTokens] = field(default_factory=list)
    _raw: bytearray = field(default_factory=bytearray)
    _num_bytes: int = 0
    _num_sampled: int = 0
    _finish_reason: str = ""

    def __post_init__(self) -> None:
        context, max_tokens = self.job.context, self.job.max_tokens
        self._rng = np.random.default_rng(self.job.seed)
        self.readings.append(Reading(context, len(context) - 1, self._extend, max_tokens))

    def result(self) -> Generated:
        """Return the continuation, or as much of it as is sure."""
        size = self._num_bytes if self._finish_reason else settled(self._raw, self.job.stop)
        return Generated(
            text=self._raw[:size].decode("utf-8", errors="replace"),
            tokens=tuple(self._tokens),
            logprobs=tuple(self._logprobs),
            top=tuple(self._top),
            finish_reason=self._finish_reason,
            num_sampled=self._num_sampled,
        )

    def _extend(self, position: int, expected: Distribution) -> int | None:
        """Sample the next token; return it unless the continuation ends with it."""
        job = self.job
        token = sample(expected.logits, job.temperature, job.top_p, self._rng)
        self._num_sampled += 1
        if token in self.tokenizer.end_tokens:
            self._finish("stop", len(self._raw))
            return None
        self._tokens.append(token)
        self._logprobs.append(expected.logprob(token))
        self._top.append(expected.top(job.num_top))
        self._raw += self.tokenizer.token_bytes(token)
        ends = [self._raw.find(stop.encode()) for stop in job.stop]
        if any(end >= 0 for end in ends):
            self._finish("stop", min(end for end in ends if end >= 0))
        elif len(self._tokens) >= job.max_tokens:
            self._finish("length", len(self._raw))
        return None if self._finish_reason else token

    def _finish(self, reason: str, num_bytes: int) -> None:
        self._finish_reason, self._num_bytes = reason, num_bytes


def settled(raw: bytes | bytearray, stops: Iterable[str]) -> int:
    """Return how many bytes of an unfinished text stay as they are, whatever comes.

    The others may turn out to begin a stop string, or are part of a character.
    """
    size = len(raw)
    for stop in map(str.encode, stops):
        begun = [n for n in range(1, min(len(stop), len(raw) + 1)) if raw.endswith(stop[:n])]
        size = min(size, len(raw) - max(begun, default=0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(raw[:size])
    return size - len(decoder.getstate()[0])
