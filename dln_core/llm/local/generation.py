"""Sampling of continuations in batches, each request with a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dln_core.llm.local.prefixes import PrefixMemory, group_by_prefix, nearest_to_first
from dln_core.llm.local.session import CompiledModel, Logits, Prefix, Session, log_normalizer
from dln_core.llm.local.tokens import Tokenizer, Tokens

# Attention memory of the rows of one batch, and of the prefixes that are kept.
_ROWS_BYTES = 600 << 20
_PREFIX_BYTES = 128 << 20
_MAX_ROWS = 32
# The nucleus is searched among this many tokens first.
_NUCLEUS_TOKENS = 1024


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
    """

    context: Tokens
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: tuple[int, ...] = (0,)
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """A continuation.

    Attributes:
        text: Without the stop string or the token that ended it.
        tokens: The tokens of the text; with a stop string, also those that it stands in.
        logprobs: Their log-probs in nats under the model itself, whatever the temperature.
        best_tokens: The most probable token at each place.
        best_logprobs: Their log-probs in nats.
        finish_reason: ``stop`` or ``length``.
        num_sampled: Tokens that the model gave, the one that ended the text included.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    best_tokens: tuple[int, ...]
    best_logprobs: tuple[float, ...]
    finish_reason: str
    num_sampled: int


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
    cumulated = weights.cumsum(dtype=np.float64)
    place = np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right")
    return min(int(place), len(weights) - 1)


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


@dataclass(slots=True)
class _Row:
    """A continuation in the making."""

    job: GenerateJob
    rng: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    best: list[tuple[int, float]] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    num_sampled: int = 0
    finish_reason: str = ""
    text: str = ""

    def extend(self, logits: Logits, tokenizer: Tokenizer) -> None:
        """Sample the next token and note whether the continuation ends with it."""
        job = self.job
        token = sample(logits, job.temperature, job.top_p, self.rng)
        self.num_sampled += 1
        if token in tokenizer.end_tokens:
            self._finish("stop", len(self.raw))
            return
        total, best = log_normalizer(logits), int(logits.argmax())
        self.tokens.append(token)
        self.logprobs.append(float(logits[token]) - total)
        self.best.append((best, float(logits[best]) - total))
        self.raw += tokenizer.token_bytes(token)
        ends = [self.raw.find(stop.encode()) for stop in job.stop]
        if any(end >= 0 for end in ends):
            self._finish("stop", min(end for end in ends if end >= 0))
        elif len(self.tokens) >= job.max_tokens:
            self._finish("length", len(self.raw))

    def _finish(self, reason: str, num_bytes: int) -> None:
        self.finish_reason = reason
        self.text = self.raw[:num_bytes].decode("utf-8", errors="replace")

    def result(self) -> Generated:
        """Return the finished continuation."""
        return Generated(
            text=self.text,
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            best_tokens=tuple(token for token, _ in self.best),
            best_logprobs=tuple(logprob for _, logprob in self.best),
            finish_reason=self.finish_reason,
            num_sampled=self.num_sampled,
        )


class Generator:
    """Generates for a batch of jobs on one session; used by one thread at a time."""

    def __init__(self, model: CompiledModel, tokenizer: Tokenizer) -> None:
        self._session = Session(model)
        self._prefixes = PrefixMemory(_PREFIX_BYTES)
        self._tokenizer = tokenizer
        self._max_tokens = _ROWS_BYTES // model.bytes_per_token

    def pick(self, jobs: Sequence[GenerateJob]) -> list[int]:
        """Choose which of the waiting jobs, oldest first, make the next batch."""
        picked: list[int] = []
        longest = 0
        for index in nearest_to_first([job.context for job in jobs])[:_MAX_ROWS]:
            longest = max(longest, len(jobs[index].context) + jobs[index].max_tokens)
            if picked and longest * (len(picked) + 1) > self._max_tokens:
                break
            picked.append(index)
        return picked

    def generate(self, jobs: Sequence[GenerateJob]) -> list[Generated]:
        """Return the continuation of every job."""
        rows = [_Row(job, np.random.default_rng(job.seed)) for job in jobs]
        starts = self._read_prefixes(jobs)
        feeds = [job.context[length:] for job, (_, length) in zip(jobs, starts, strict=True)]
        self._session.begin(starts)
        active, parents = list(rows), list(range(len(rows)))
        while active:

            def read(row: int, position: int, logits: Logits, active: list[_Row] = active) -> None:
                """Extend the continuation of a row."""
                active[row].extend(logits, self._tokenizer)

            self._session.feed(feeds, parents, [(len(new) - 1,) for new in feeds], read)
            parents = [index for index, row in enumerate(active) if not row.finish_reason]
            active = [active[index] for index in parents]
            feeds = [np.array(row.tokens[-1:], dtype=np.int32) for row in active]
        return [row.result() for row in rows]

    def _read_prefixes(self, jobs: Sequence[GenerateJob]) -> list[tuple[Prefix | None, int]]:
        """Read what jobs share once; return of every job what of its context is known then."""
        contexts = [job.context for job in jobs]
        starts: list[tuple[Prefix | None, int]] = [(None, 0)] * len(jobs)
        for members, length in group_by_prefix(contexts):
            start = self._prefixes.read(self._session, contexts[members[0]][:length])
            for index in members:
                starts[index] = start
        return starts
