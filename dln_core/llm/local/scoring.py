"""Exact log-probs of given texts; what many requests share is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dln_core.llm.local.prefixes import PrefixMemory, group_by_prefix, nearest_to_first
from dln_core.llm.local.session import (
    STEP_TOKENS,
    CompiledModel,
    Logits,
    Prefix,
    Session,
    log_normalizer,
)
from dln_core.llm.local.tokens import Tokens

# Attention memory of the rows of one step, and of the prefixes that are kept.
_ROWS_BYTES = 400 << 20
_PREFIX_BYTES = 256 << 20
# Answers are given out batch by batch; larger ones share no more.
_MAX_JOBS = 64
# More targets of one context are dealt with in several turns.
_MAX_TARGETS = 16


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Ask for log p(target | context) of every target.

    Attributes:
        context: At least one token.
        targets: Of at least one token each.
    """

    context: Tokens
    targets: tuple[Tokens, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """One context with some of the targets asked of it, each with where its answer goes."""

    context: Tokens
    targets: tuple[tuple[Tokens, list[float]], ...]


class Scorer:
    """Scores jobs on one session; used by one thread at a time."""

    def __init__(self, model: CompiledModel) -> None:
        self._session = Session(model)
        self._prefixes = PrefixMemory(_PREFIX_BYTES)
        self._max_tokens = _ROWS_BYTES // model.bytes_per_token

    def pick(self, jobs: Sequence[ScoreJob]) -> list[int]:
        """Choose which of the waiting jobs, oldest first, make the next batch."""
        return nearest_to_first([job.context for job in jobs])[:_MAX_JOBS]

    def score(self, jobs: Sequence[ScoreJob]) -> list[list[list[float]]]:
        """Return the token log-probs (nats) of every target of every job."""
        answers: list[list[list[float]]] = [[[] for _ in job.targets] for job in jobs]
        units = list(_merge(jobs, answers))
        for members, length in group_by_prefix([unit.context for unit in units]):
            group = [units[index] for index in members]
            start = self._prefixes.read(self._session, group[0].context[:length])
            for chunk in self._chunks(group, start[1]):
                self._score_chunk(chunk, start)
        return answers

    def _chunks(self, group: list[_Unit], length: int) -> Iterator[list[_Unit]]:
        """Cut a group that shares ``length`` tokens into chunks that fit one step."""
        chunk: list[_Unit] = []
        num_rows = 0
        # By length, so that little of a step is padding.
        for unit in sorted(group, key=lambda unit: len(unit.context)):
            longest = max(len(target) for target, _ in unit.targets)
            size = len(unit.context) + longest
            own = (len(chunk) + 1) * (len(unit.context) - length)
            rows = num_rows + len(unit.targets)
            if chunk and (own > STEP_TOKENS or rows * size > self._max_tokens):
                yield chunk
                chunk, rows = [], len(unit.targets)
            chunk.append(unit)
            num_rows = rows
        if chunk:
            yield chunk

    def _score_chunk(self, chunk: list[_Unit], start: tuple[Prefix | None, int]) -> None:
        """Read what is left of the contexts, then all tokens but the last of the targets."""

        def read_first(row: int, position: int, logits: Logits) -> None:
            """Note the log-prob of the first token of every target of a context."""
            total = log_normalizer(logits)
            for target, answer in chunk[row].targets:
                answer.append(float(logits[target[0]]) - total)

        rest = [unit.context[start[1] :] for unit in chunk]
        self._session.begin([start])
        self._session.feed(rest, [0] * len(rest), [(len(row) - 1,) for row in rest], read_first)
        longer = [
            (parent, target, answer)
            for parent, unit in enumerate(chunk)
            for target, answer in unit.targets
            if len(target) > 1
        ]
        if not longer:
            return

        def read_next(row: int, position: int, logits: Logits) -> None:
            """Note the log-prob of the token after ``position`` of a target."""
            _, target, answer = longer[row]
            answer.append(float(logits[target[position + 1]]) - log_normalizer(logits))

        self._session.feed(
            [target[:-1] for _, target, _ in longer],
            [parent for parent, _, _ in longer],
            [range(len(target) - 1) for _, target, _ in longer],
            read_next,
        )


def _merge(jobs: Sequence[ScoreJob], answers: list[list[list[float]]]) -> Iterator[_Unit]:
    """Join jobs of one context into units of a bounded number of targets."""
    contexts: dict[bytes, Tokens] = {}
    asked: dict[bytes, list[tuple[Tokens, list[float]]]] = {}
    for job, lists in zip(jobs, answers, strict=True):
        key = job.context.tobytes()
        contexts[key] = job.context
        asked.setdefault(key, []).extend(zip(job.targets, lists, strict=True))
    for key, targets in asked.items():
        for first in range(0, len(targets), _MAX_TARGETS):
            yield _Unit(contexts[key], tuple(targets[first : first + _MAX_TARGETS]))
