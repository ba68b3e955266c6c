"""What one candidate prompt makes of one example.

Axes: ``J`` bodies that a node may read, ``T`` texts that it should write, ``C`` labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.errors import RequestError
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
    """

    labels: tuple[str, ...]
    target: int
    log_probs: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PartScores:
    """What a candidate makes of one part of a reading.

    Attributes:
        log_probs: J x T, on the training scale.
        weights: J x T, joint probabilities under the guide; they sum to one.
        share: Weight of the part.
        labels: All labels' log-probs, if the part is an answer with labels.
    """

    log_probs: Array
    weights: Array
    share: float = 1.0
    labels: LabelScores | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate on one example.

    Attributes:
        parts: One a node.
        logprob: Expected log-prob, summed over each text, in nats; NaN where there is none.
        avoided: Log-prob of the avoided text on the training scale, 0 without one.
        failures: Samples that the endpoint refused on the way.
    """

    parts: tuple[PartScores, ...]
    logprob: float
    avoided: float = 0.0
    failures: tuple[RequestError, ...] = ()


class Measure(Protocol):
    """Measures the candidates for one prompt."""

    async def measure(self, prompt: Prompt, reading: Reading) -> Measured:
        """Measure one candidate on one example.

        Raises:
            RequestError: If the endpoint refuses it.
        """
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
        """Score the parts; expected log-probs add up by their shares."""

        async def one(part: Part) -> tuple[PartScores, float, float]:
            layer = self.network.writer(part.node).with_prompt(prompt)
            return await self._part(layer, part, reading.example)

        scored = await map_bounded(one, reading.parts)
        return Measured(
            parts=tuple(scores for scores, _, _ in scored),
            logprob=sum(scores.share * logprob for scores, logprob, _ in scored),
            avoided=sum(avoided for _, _, avoided in scored),
        )

    async def _part(
        self, layer: LanguageLayer, part: Part, example: Example
    ) -> tuple[PartScores, float, float]:
        """Scores of a part, its expected log-prob in nats, and the avoided text's log-prob."""
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
        scored = PartScores(
            log_probs=wanted,
            weights=part.weights,
            share=part.share,
            labels=label_scores(example, [score.label_logprobs for score in scores]),
        )
        beyond = float(objectives[:, num_targets:].mean()) if avoided else 0.0
        return scored, float(expectation(part.weights.ravel(), logprobs.ravel())), beyond


def label_scores(example: Example, log_probs: Sequence[Array | None]) -> LabelScores | None:
    """Gather label log-probs, one row a body; None where there are no labels."""
    known = [row for row in log_probs if row is not None]
    if not known:
        return None
    return LabelScores(
        labels=example.labels,
        target=example.labels.index(example.target),
        log_probs=np.array(known),
    )
