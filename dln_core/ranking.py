"""Scoring the candidate prompts of one layer and choosing among them.

Axes: ``N`` candidates, ``B`` examples.  The current prompt is candidate 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dln_core.concurrency import map_bounded
from dln_core.layers import LanguageLayer
from dln_core.proposal import Candidate
from dln_core.scoring import Scorer, Scores
from dln_core.types import Demonstration, Example, Prompt
from dln_core.vi.elbo import expectation
from dln_core.vi.selection import comparable_examples, select
from dln_core.vi.trust_region import kl_divergence
from dln_core.vi.weights import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one example gives a layer to read, and what the layer should write.

    Attributes:
        example: Where it comes from.
        input_field: The network's input as its layers read it.
        bodies: J texts that the layer may read.
        body_weights: Their probabilities, J.
        targets: T hidden texts that the layer should write; empty for the example's answer.
        target_weights: Their probabilities, T.
        avoided: A wrong hidden text that exploration moves away from.
    """

    example: Example
    input_field: str
    bodies: tuple[str, ...]
    body_weights: Array
    targets: tuple[str, ...] = ()
    target_weights: Array = field(default_factory=lambda: np.ones(1))
    avoided: str | None = None

    def is_shown_in(self, prompt: Prompt) -> bool:
        """Tell whether the prompt holds this example as a worked one."""
        return any(
            shown.input in self.bodies or shows(shown, self.input_field)
            for shown in prompt.demonstrations
        )


def shows(demonstration: Demonstration, input_field: str) -> bool:
    """Tell whether a worked example is made from this network input, alone or with hidden text."""
    return f"{demonstration.input}\n".startswith(f"{input_field}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What the candidates of a layer are worth; means over the comparable examples, shape N.

    Attributes:
        objective: Expected log-prob on the training scale.
        logprob: Expected log-prob, summed over each text, in nats.
        trust_region_kl: KL(current, candidate) over the labels, 0 without labels.
        rewards: What was maximised.
        num_examples: Examples that ranked them.
        selected: Index of the winner.
    """

    objective: Array
    logprob: Array
    trust_region_kl: Array
    rewards: Array
    num_examples: int
    selected: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate on one example."""

    objective: float
    logprob: float
    avoided: float
    label_logprobs: Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranker:
    """Ranks candidates by what they make of the readings.

    Attributes:
        scorer: Scores texts.
        trust_factor: Weight of the divergence from the current prompt.
        exploration: Weight of the log-prob of avoided texts.
    """

    scorer: Scorer
    trust_factor: float
    exploration: float

    async def rank(
        self, layer: LanguageLayer, candidates: Sequence[Candidate], readings: Sequence[Reading]
    ) -> Ranking:
        """Score every candidate on the examples that none of them contains; select the best.

        Where every example is contained in some candidate, the current prompt stays.
        """
        contained: NDArray[np.bool_] = np.array(
            [[r.is_shown_in(c.prompt) for r in readings] for c in candidates]
        )
        used = [r for r, fits in zip(readings, comparable_examples(contained), strict=True) if fits]
        if not used:
            return _undecided(len(candidates))
        pairs = [(n, b) for n in range(len(candidates)) for b in range(len(used))]

        async def one(pair: tuple[int, int]) -> Measured:
            prompted = layer.with_prompt(candidates[pair[0]].prompt)
            return await self._measure(prompted, used[pair[1]])

        measured = await map_bounded(one, pairs)
        rows = [measured[n * len(used) : (n + 1) * len(used)] for n in range(len(candidates))]
        objective = np.array([[m.objective for m in row] for row in rows]).mean(axis=1)
        divergence = np.array([_mean_kl(rows[0], row) for row in rows])
        avoided = np.array([_mean_avoided(row, used) for row in rows])
        rewards = objective - self.trust_factor * divergence - self.exploration * avoided
        return Ranking(
            objective=objective,
            logprob=np.array([[m.logprob for m in row] for row in rows]).mean(axis=1),
            trust_region_kl=divergence,
            rewards=rewards,
            num_examples=len(used),
            selected=select(rewards),
        )

    async def _measure(self, layer: LanguageLayer, reading: Reading) -> Measured:
        async def read(body: str) -> Scores:
            if not reading.targets:
                return await self.scorer.answer(layer, body, reading.example)
            explored = self.exploration > 0 and reading.avoided is not None
            avoided = [reading.avoided] if explored and reading.avoided else []
            return await self.scorer.texts(layer, body, [*reading.targets, *avoided])

        scores = await map_bounded(read, reading.bodies)
        num_targets = max(1, len(reading.targets))

        def expected(values: list[Array]) -> float:
            inner = [
                float(expectation(reading.target_weights, row[:num_targets])) for row in values
            ]
            return float(expectation(reading.body_weights, np.array(inner)))

        labels = [s.label_logprobs for s in scores if s.label_logprobs is not None]
        beyond = [float(s.objective[num_targets]) for s in scores if len(s.objective) > num_targets]
        return Measured(
            objective=expected([s.objective for s in scores]),
            logprob=expected([s.logprob for s in scores]),
            avoided=float(np.mean(beyond)) if beyond else 0.0,
            # J x C; the divergence is averaged over what may be read.
            label_logprobs=np.array(labels) if labels else None,
        )


def _mean_kl(current: Sequence[Measured], candidate: Sequence[Measured]) -> float:
    values = [
        float(kl_divergence(p.label_logprobs, q.label_logprobs).mean())
        for p, q in zip(current, candidate, strict=True)
        if p.label_logprobs is not None and q.label_logprobs is not None
    ]
    return float(np.mean(values)) if values else 0.0


def _mean_avoided(row: Sequence[Measured], readings: Sequence[Reading]) -> float:
    values = [m.avoided for m, r in zip(row, readings, strict=True) if r.avoided is not None]
    return float(np.mean(values)) if values else 0.0


def _undecided(num_candidates: int) -> Ranking:
    nothing = np.zeros(num_candidates)
    return Ranking(
        objective=nothing,
        logprob=nothing,
        trust_region_kl=nothing,
        rewards=nothing,
        num_examples=0,
        selected=0,
    )
