"""What one candidate prompt makes of one example.

Axes: ``J`` bodies that a node may read, ``T`` texts that it should write, ``C`` labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.layers import LanguageLayer
from dln_core.network import Network
from dln_core.reading import Part, Reading
from dln_core.scoring import Scorer, Scores
from dln_core.types import Example, Prompt
from dln_core.vi.elbo import expectation
from dln_core.vi.weights import Array, log_softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """Log-probs of an example's labels after every body of a part.

    Attributes:
        labels: The C labels.
        target: Index of the right one.
        log_probs: J x C, nats, normalised over the labels.
        weights: J, times the share of the part.
    """

    labels: tuple[str, ...]
    target: int
    log_probs: Array
    weights: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate on one example.

    Attributes:
        objective: Expected log-prob on the training scale.
        logprob: Expected log-prob, summed over each text, in nats; NaN where there is none.
        avoided: Log-prob of the avoided text on the training scale, 0 without one.
        labels: Of the parts whose answers are labels.
    """

    objective: float
    logprob: float
    avoided: float = 0.0
    labels: tuple[LabelScores, ...] = ()


class Measure(Protocol):
    """Measures the candidates for one prompt."""

    async def measure(self, prompt: Prompt, reading: Reading) -> Measured:
        """Measure one candidate on one example."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobMeasure:
    """Measures by the log-probs of what the nodes of a prompt should write.

    Attributes:
        scorer: Scores texts.
        network: The current network.
        contrastive: Whether hidden texts are scored among the samples of their example alone.
        explores: Whether avoided texts are scored too.
    """

    scorer: Scorer
    network: Network
    contrastive: bool
    explores: bool

    async def measure(self, prompt: Prompt, reading: Reading) -> Measured:
        """Add up the parts, each by its share."""

        async def one(part: Part) -> Measured:
            layer = self.network.writer(part.node).with_prompt(prompt)
            return await self._part(layer, part, reading.example)

        return add_up(await map_bounded(one, reading.parts), reading.parts)

    async def _part(self, layer: LanguageLayer, part: Part, example: Example) -> Measured:
        avoided = [part.avoided] if self.explores and part.avoided is not None else []

        async def read(body: str) -> Scores:
            if not part.targets:
                return await self.scorer.answer(layer, body, example)
            return await self.scorer.texts(layer, body, [*part.targets, *avoided])

        scores = await map_bounded(read, part.bodies)
        num_targets = max(1, len(part.targets))
        objectives = np.array([score.objective for score in scores])
        wanted = objectives[:, :num_targets]
        if self.contrastive and part.targets:
            wanted = log_softmax(wanted)
        logprobs = np.array([score.logprob[:num_targets] for score in scores])
        return Measured(
            objective=float(expectation(part.weights.ravel(), wanted.ravel())),
            logprob=float(expectation(part.weights.ravel(), logprobs.ravel())),
            avoided=float(objectives[:, num_targets:].mean()) if avoided else 0.0,
            labels=label_scores(example, part, [score.label_logprobs for score in scores]),
        )


def label_scores(
    example: Example, part: Part, log_probs: Sequence[Array | None]
) -> tuple[LabelScores, ...]:
    """Gather the label log-probs of a part, one row a body; none where there are no labels."""
    known = [row for row in log_probs if row is not None]
    if not known:
        return ()
    scores = LabelScores(
        labels=example.labels,
        target=example.labels.index(example.target),
        log_probs=np.array(known),
        weights=part.weights.sum(axis=1) * part.share,
    )
    return (scores,)


def add_up(measured: Sequence[Measured], parts: Sequence[Part]) -> Measured:
    """Add up the parts of one example, each by its share."""
    return Measured(
        objective=sum(m.objective * p.share for m, p in zip(measured, parts, strict=True)),
        logprob=sum(m.logprob * p.share for m, p in zip(measured, parts, strict=True)),
        avoided=sum(m.avoided for m in measured),
        labels=tuple(scores for m in measured for scores in m.labels),
    )
