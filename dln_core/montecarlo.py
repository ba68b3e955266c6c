"""Training without log-probs: hidden texts and answers are sampled, and answers are judged.

It is the last rung of the scoring ladder.  A candidate for a hidden layer is worth
log (1/M) Σ_m p(y | h_m) with h_m sampled under the candidate; p(y | h) is the log-prob of the
label where the endpoint gives those of the next token, else the smoothed frequency of right
answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.concurrency import map_bounded
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
    ) -> float:
        """Log of the mean probability (nats) of the right answer, over sampled hidden texts.

        Args:
            network: What is run.
            example: Its target is compared with what the network answers.
            given: Texts of nodes that are not sampled.
            seeds: One a sample.
            role: What the calls are counted as.
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
            return float(self.task.judge(trace.prediction, example.target))

        probabilities = await map_bounded(one, seeds[:1] if is_exact else seeds)
        if example.labels:
            return math.log(max(float(np.mean(probabilities)), np.finfo(float).tiny))
        return self._smoothed(probabilities)

    async def answer(
        self, layer: LanguageLayer, body: str, example: Example, seeds: Sequence[int]
    ) -> tuple[float, Array | None]:
        """Log p(answer | body) in nats, and the log-probs of all labels where there are any."""
        if example.labels:
            request = layer.scoring(body, example.labels, role=Role.score)
            labels = label_log_probs((await self.model.send(request)).choices)
            return float(labels[example.labels.index(example.target)]), labels

        async def one(seed: int) -> float:
            request = layer.generation(
                body, role=Role.score, temperature=SAMPLE_TEMPERATURE, seed=seed
            )
            text = (await self.model.send(request)).choices[0].text
            return float(self.task.judge(text, example.target))

        return self._smoothed(await map_bounded(one, seeds)), None

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
            return await self.rollouts.log_likelihood(
                network, seen.example, given, seen.seeds, Role.posterior
            )

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
            value = await self.rollouts.log_likelihood(
                network, seen.example, given, seen.seeds, Role.score
            )
            whole = PartScores(log_probs=np.array([[value]]), weights=np.ones((1, 1)))
            return Measured(parts=(whole,), logprob=math.nan)

        async def one(part: Part) -> PartScores:
            layer = self.network.writer(part.node).with_prompt(prompt)
            return await self._part(layer, part, seen)

        return Measured(parts=tuple(await map_bounded(one, reading.parts)), logprob=math.nan)

    async def _part(self, layer: LanguageLayer, part: Part, seen: Observed) -> PartScores:
        async def one(body: str) -> tuple[float, Array | None]:
            return await self.rollouts.answer(layer, body, seen.example, seen.seeds)

        scores = await map_bounded(one, part.bodies)
        return PartScores(
            log_probs=np.array([[value] for value, _ in scores]),
            weights=part.weights,
            share=part.share,
            labels=label_scores(seen.example, [labels for _, labels in scores]),
        )


def _seed_of(node: int, seed: int) -> int:
    """A seed of its own for every node, as endpoints take them (31 bits)."""
    return int(np.random.SeedSequence([seed, node]).generate_state(1)[0] >> 1)


def _given(network: Network, seen: Observed, changed: Sequence[int]) -> dict[int, str]:
    """The forward texts that do not depend on the changed nodes."""
    after = network.graph.after(changed)
    return {node: text for node, text in enumerate(seen.trace.texts) if node not in after}
