"""Training without log-probs: hidden texts and answers are sampled, and answers are judged.

It is the last rung of the scoring ladder.  A candidate for a hidden layer is worth
log (1/M) Σ_m p(y | h_m) with h_m sampled under the candidate; p(y | h) is the log-prob of the
label where the endpoint gives those of the next token, else the smoothed frequency of right
answers.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.concurrency import map_bounded, map_surviving, parted
from dln_core.errors import RequestError
from dln_core.graph import Slot
from dln_core.layers import LanguageLayer
from dln_core.llm.base import LanguageModel
from dln_core.measuring import Measured, PartScores, label_scores
from dln_core.network import Network
from dln_core.reading import Part, Reading
from dln_core.tasks.task import Task
from dln_core.trace import Draw
from dln_core.types import Example, Prompt, Role
from dln_core.vi.weights import Array
from dln_core.voting import label_log_probs
from dln_core.weighing import Drawn, Observed

SAMPLE_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What samples say of the right answer.

    Attributes:
        log_prob: Log of its mean probability, in nats.
        label_logprobs: Log-probs of all labels, where they are scored.
        failures: Samples that the endpoint refused; each counts as one without the right answer.
    """

    log_prob: float
    label_logprobs: Array | None = None
    failures: tuple[RequestError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Estimates log p(answer) by sampling.

    Attributes:
        model: The forward model.
        task: Judges the answers.
    """

    model: LanguageModel
    task: Task

    async def log_likelihood(
        self,
        network: Network,
        example: Example,
        given: Mapping[int, str],
        seeds: Sequence[int],
        role: Role,
    ) -> Estimate:
        """Log of the mean probability of the right answer, over sampled hidden texts.

        Args:
            network: What is run.
            example: Its target is compared with what the network answers.
            given: Texts of nodes that are not sampled.
            seeds: One a sample.
            role: What the calls are counted as.

        Raises:
            RequestError: The first refusal, if no sample is left.
        """
        free = [node for node in network.graph.hidden if node not in given]
        is_exact = bool(example.labels) and not free

        async def one(seed: int) -> float:
            sampled = [*free, *network.graph.answers]
            # The same for all candidates, so that chance does not tell them apart.
            draws = {node: Draw(SAMPLE_TEMPERATURE, _seed_of(node, seed)) for node in sampled}
            trace = await network.run(self.model, example, role=role, given=given, draws=draws)
            if trace.answer.label_logprobs is not None:
                position = example.labels.index(example.target)
                return float(np.exp(trace.answer.label_logprobs[position]))
            return (await self.task.judged(trace.prediction, example)).worth

        probabilities, failures = await _sampled(one, seeds[:1] if is_exact else seeds)
        if example.labels:
            mean = max(float(np.mean(probabilities)), np.finfo(float).tiny)
            return Estimate(math.log(mean), failures=failures)
        return Estimate(self._smoothed(probabilities), failures=failures)

    async def answer(
        self, layer: LanguageLayer, body: str, example: Example, seeds: Sequence[int]
    ) -> Estimate:
        """Log p(answer | body), scored where there are labels.

        Raises:
            RequestError: The first refusal, if no sample is left.
        """
        if example.labels:
            request = layer.scoring(body, example.labels, role=Role.score)
            labels = label_log_probs((await self.model.send(request)).choices)
            return Estimate(float(labels[example.labels.index(example.target)]), labels)

        async def one(seed: int) -> float:
            request = layer.generation(
                body, role=Role.score, temperature=SAMPLE_TEMPERATURE, seed=seed
            )
            text = (await self.model.send(request)).choices[0].text
            return (await self.task.judged(text, example)).worth

        rights, failures = await _sampled(one, seeds)
        return Estimate(self._smoothed(rights), failures=failures)

    def _smoothed(self, rights: Sequence[float]) -> float:
        """Log of the frequency of right answers, with one pseudo-answer spread over the classes."""
        num_classes = max(2, len(self.task.labels))
        return math.log((sum(rights) + 1.0 / num_classes) / (len(rights) + 1.0))


@dataclass(frozen=True, slots=True)
class MonteCarloWeigher:
    """Weighs hidden samples by how often the right answer follows from them."""

    rollouts: Rollouts

    async def log_weights(
        self, network: Network, index: int, seen: Observed, drawn: Drawn
    ) -> Array:
        """Log-likelihood (nats) of the answer after each distinct text of a hidden node."""
        before = _given(network, seen, [index])

        async def one(text: str) -> float:
            given = network.complete(before | {index: text})
            estimate = await self.rollouts.log_likelihood(
                network, seen.example, given, seen.seeds, Role.posterior
            )
            # There are other texts to go on with.
            if estimate.failures:
                raise estimate.failures[0]
            return estimate.log_prob

        return np.array(await map_bounded(one, list(drawn.counts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonteCarloMeasure:
    """Measures the candidates for one prompt by sampling.

    Attributes:
        rollouts: Samples and judges.
        network: The current network.
        slot: The place of the prompt.
        observed: The batch that the readings belong to.
    """

    rollouts: Rollouts
    network: Network
    slot: Slot
    observed: Sequence[Observed]

    async def measure(self, prompt: Prompt, reading: Reading) -> Measured:
        """Run the network under a candidate; an answering layer reads the weighted samples."""
        seen, nodes = self.observed[reading.row], self.network.nodes_of(self.slot)
        if nodes[0] not in self.network.graph.answers:
            network = self.network.with_prompt(self.slot, prompt)
            given = _given(network, seen, nodes)
            estimate = await self.rollouts.log_likelihood(
                network, seen.example, given, seen.seeds, Role.score
            )
            log_probs = np.array([[estimate.log_prob]])
            whole = PartScores(log_probs=log_probs, weights=np.ones((1, 1)))
            return Measured(parts=(whole,), logprob=math.nan, failures=estimate.failures)

        async def one(part: Part) -> tuple[PartScores, list[RequestError]]:
            layer = self.network.writer(part.node).with_prompt(prompt)
            return await self._part(layer, part, seen)

        measured = await map_bounded(one, reading.parts)
        return Measured(
            parts=tuple(scores for scores, _ in measured),
            logprob=math.nan,
            failures=tuple(failure for _, failures in measured for failure in failures),
        )

    async def _part(
        self, layer: LanguageLayer, part: Part, seen: Observed
    ) -> tuple[PartScores, list[RequestError]]:
        async def one(body: str) -> Estimate:
            return await self.rollouts.answer(layer, body, seen.example, seen.seeds)

        estimates = await map_bounded(one, part.bodies)
        scores = PartScores(
            log_probs=np.array([[estimate.log_prob] for estimate in estimates]),
            weights=part.weights,
            share=part.share,
            labels=label_scores(seen.example, [estimate.label_logprobs for estimate in estimates]),
        )
        return scores, [failure for estimate in estimates for failure in estimate.failures]


async def _sampled(
    function: Callable[[int], Awaitable[float]], seeds: Sequence[int]
) -> tuple[list[float], tuple[RequestError, ...]]:
    """Probabilities of the right answer, 0 for a sample that is refused, and the refusals."""
    outcomes = await map_surviving(function, seeds)
    known, refusals = parted(outcomes)
    if refusals and not known:
        raise refusals[0]
    return [0.0 if isinstance(o, RequestError) else o for o in outcomes], tuple(refusals)


def _seed_of(node: int, seed: int) -> int:
    """A seed of its own for every node, as endpoints take them (31 bits)."""
    return int(np.random.SeedSequence([seed, node]).generate_state(1)[0] >> 1)


def _given(network: Network, seen: Observed, changed: Sequence[int]) -> dict[int, str]:
    """The forward texts that do not depend on the changed nodes."""
    after = network.graph.after(changed)
    return {node: text for node, text in enumerate(seen.trace.texts) if node not in after}
