"""Ranking the candidates for one prompt and choosing among them.

Axes: ``N`` candidates, ``B`` examples.  The current prompt is candidate 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dln_core.calibration import bias_of, label_bias
from dln_core.concurrency import map_surviving
from dln_core.config import RacingConfig
from dln_core.errors import RequestError
from dln_core.measuring import Measure, Measured, PartScores
from dln_core.proposals.evidence import Candidate
from dln_core.reading import Reading
from dln_core.types import Prompt
from dln_core.vi.calibration import divide_out
from dln_core.vi.elbo import expectation
from dln_core.vi.racing import clearly_behind, rounds
from dln_core.vi.selection import Penalties, comparable_examples, rewards, select
from dln_core.vi.trust_region import kl_divergence
from dln_core.vi.weights import Array

_CHARS_PER_TOKEN = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What the candidates for a prompt are worth; means over the examples seen, shape N.

    Attributes:
        objective: On the training scale; NaN for a candidate that was scored on no example.
        logprob: Expected log-prob, summed over each text, in nats; NaN where there is none.
        trust_region_kl: KL(current, candidate) over the labels, 0 without labels.
        rewards: What was maximised; -inf for a candidate that the endpoint refused on an example.
        num_seen: Examples that each candidate was scored on.
        num_examples: Examples that rank the candidates.
        selected: Index of the winner, which was scored on all of them.
        failures: What the endpoint refused, in the order of candidates and examples.
    """

    objective: Array
    logprob: Array
    trust_region_kl: Array
    rewards: Array
    num_seen: NDArray[np.intp]
    num_examples: int
    selected: int
    failures: tuple[RequestError, ...]

    @property
    def num_spared(self) -> int:
        """Measurements that racing made unnecessary."""
        return int((self.num_examples - self.num_seen).sum())


@dataclass(slots=True)
class _Entry:
    """A candidate in the race, with what it made of the examples so far."""

    prompt: Prompt
    measured: list[Measured]
    is_running: bool = True
    fits: bool = True

    def enter(self, outcomes: Sequence[Measured | RequestError]) -> None:
        """Enter one outcome an example; a refusal ends the race for this candidate."""
        for outcome in outcomes:
            if isinstance(outcome, RequestError):
                self.is_running = self.fits = False
                return
            self.measured.append(outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranker:
    """Ranks candidates by what they make of the readings.

    Attributes:
        measure: Measures one candidate on one example.
        penalties: What is taken off the objective.
        racing: When a candidate stops being scored.
        calibrates: Whether the label prior of each candidate is divided out.
        estimates_evidence: Whether the objective is the log evidence as the guide's weights
            estimate it, instead of its bound.
    """

    measure: Measure
    penalties: Penalties
    racing: RacingConfig
    calibrates: bool
    estimates_evidence: bool

    async def rank(self, candidates: Sequence[Candidate], readings: Sequence[Reading]) -> Ranking:
        """Score the candidates on the examples that none of them contains; select the best.

        A candidate that the endpoint refuses on an example is out.  If it refuses the current
        prompt, the example counts for none of them.  Where no example is left, the current prompt
        stays.
        """
        contained: NDArray[np.bool_] = np.array(
            [[r.is_shown_in(c.prompt) for r in readings] for c in candidates]
        )
        used = [r for r, fits in zip(readings, comparable_examples(contained), strict=True) if fits]
        entries = [_Entry(candidate.prompt, []) for candidate in candidates]
        first = self.racing.first_examples
        ends = rounds(len(used) if first is None else first, len(used)) if used else []
        seen: list[Reading] = []
        failures: list[RequestError] = []
        done = 0
        for end in ends:
            counted, refusals = await self._score(entries, used[done:end])
            seen += counted
            failures += refusals
            done = end
            if end < len(used):
                self._drop(entries, seen)
        return self._ranking(entries, seen, failures)

    async def _score(
        self, entries: Sequence[_Entry], readings: Sequence[Reading]
    ) -> tuple[list[Reading], list[RequestError]]:
        """Score what is in the race; return the examples that count, and what was refused."""
        running = [entry for entry in entries if entry.is_running]

        async def one(pair: tuple[_Entry, Reading]) -> Measured:
            return await self.measure.measure(pair[0].prompt, pair[1])

        pairs = [(entry, reading) for entry in running for reading in readings]
        outcomes = await map_surviving(one, pairs)
        rows = [
            outcomes[start : start + len(readings)] for start in range(0, len(pairs), len(readings))
        ]
        # Candidates are compared with the current prompt: what it has no score on tells nothing.
        counted = [number for number, one in enumerate(rows[0]) if isinstance(one, Measured)]
        for entry, row in zip(running, rows, strict=True):
            entry.enter([row[number] for number in counted])
        refusals = [
            failure
            for outcome in outcomes
            for failure in ((outcome,) if isinstance(outcome, RequestError) else outcome.failures)
        ]
        return [readings[number] for number in counted], refusals

    def _drop(self, entries: Sequence[_Entry], readings: Sequence[Reading]) -> None:
        """Let those that are clearly behind leave the race; the current prompt is the reference."""
        running = [entry for entry in entries if entry.is_running]
        values = np.array([self._values(entry, entries[0], readings) for entry in running])
        behind = clearly_behind(values, confidence=self.racing.confidence)
        for entry, is_behind in zip(running[1:], behind[1:], strict=True):
            entry.is_running = not is_behind

    def _values(self, entry: _Entry, current: _Entry, readings: Sequence[Reading]) -> Array:
        """What a candidate is worth on each example it has seen; the mean is its reward."""
        measured = entry.measured
        avoiding = [_avoids(reading) for reading in readings[: len(measured)]]
        # Only wrong examples have something to avoid: the mean is over those.
        scale = len(measured) / max(1, sum(avoiding))
        return rewards(
            np.array(self._objectives(entry, current)),
            divergence=np.array(_divergences(current.measured, measured)),
            avoided=np.array([one.avoided * scale for one in measured]),
            num_tokens=np.array(_num_tokens(entry.prompt)),
            penalties=self.penalties,
        )

    def _objectives(self, entry: _Entry, current: _Entry) -> list[float]:
        """Objective of a candidate on each example that it has seen."""
        ours = self._log_probs(entry.measured)
        theirs = self._log_probs(current.measured)
        return [
            sum(
                part.share * self._objective(p, q, part.weights)
                for part, p, q in zip(one.parts, own, reference, strict=True)
            )
            for one, own, reference in zip(entry.measured, ours, theirs, strict=False)
        ]

    def _objective(self, log_probs: Array, current: Array, weights: Array) -> float:
        """Expected log-prob under the guide, or an estimate of the log evidence."""
        if not self.estimates_evidence:
            return float(expectation(weights.ravel(), log_probs.ravel()))
        # The weights are the posterior under the current prompt, so the evidence changes by
        # E_q[p / p_current]; the expected log-prob is its bound, loose where q is sure.
        bound = float(expectation(weights.ravel(), current.ravel()))
        with np.errstate(divide="ignore"):
            ratios = np.log(weights.ravel()) + log_probs.ravel() - current.ravel()
        return bound + float(np.logaddexp.reduce(ratios))

    def _log_probs(self, measured: Sequence[Measured]) -> list[list[Array]]:
        """Log-probs of every part, with the candidate's label prior divided out if wanted."""
        scores = [part.labels for one in measured for part in one.parts if part.labels]
        if not (self.calibrates and scores):
            return [[part.log_probs for part in one.parts] for one in measured]
        bias = label_bias([(s.labels, line) for s in scores for line in s.log_probs])
        return [[_calibrated(part, bias) for part in one.parts] for one in measured]

    def _ranking(
        self,
        entries: Sequence[_Entry],
        used: Sequence[Reading],
        failures: Sequence[RequestError],
    ) -> Ranking:
        current = entries[0]
        means = np.array([_mean(self._values(entry, current, used)) for entry in entries])
        fits = np.array([entry.fits for entry in entries])
        runs = np.array([entry.is_running for entry in entries])
        return Ranking(
            objective=np.array([_mean(self._objectives(e, current), math.nan) for e in entries]),
            logprob=np.array([_mean([m.logprob for m in e.measured], math.nan) for e in entries]),
            trust_region_kl=np.array(
                [_mean(_divergences(current.measured, e.measured)) for e in entries]
            ),
            rewards=np.where(fits, means, -math.inf),
            num_seen=np.array([len(entry.measured) for entry in entries], dtype=np.intp),
            num_examples=len(used),
            selected=select(np.where(runs, means, -math.inf)),
            failures=tuple(failures),
        )


def _calibrated(part: PartScores, bias: Mapping[str, float]) -> Array:
    if part.labels is None:
        return part.log_probs
    labels = part.labels
    unbiased = divide_out(labels.log_probs, bias_of(labels.labels, bias))
    return unbiased[:, labels.target : labels.target + 1]


def _divergences(current: Sequence[Measured], candidate: Sequence[Measured]) -> list[float]:
    """KL(current, candidate) over the labels on each example, expected over what is read."""
    return [
        sum(
            p.share
            * float(p.weights.sum(axis=1) @ kl_divergence(p.labels.log_probs, q.labels.log_probs))
            for p, q in zip(ours.parts, theirs.parts, strict=True)
            if p.labels and q.labels
        )
        for ours, theirs in zip(current, candidate, strict=False)
    ]


def _num_tokens(prompt: Prompt) -> float:
    shown = sum(len(d.input) + len(d.output) for d in prompt.demonstrations)
    return (len(prompt.instruction) + shown) / _CHARS_PER_TOKEN


def _avoids(reading: Reading) -> bool:
    return any(part.avoided is not None for part in reading.parts)


def _mean(values: Sequence[float] | Array, empty: float = 0.0) -> float:
    return float(np.mean(values)) if len(values) else empty
