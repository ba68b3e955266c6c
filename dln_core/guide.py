"""The guide q(h | x, y): hidden texts sampled in view of the answer, and their weights.

Axes: ``B`` examples, ``K`` hidden samples; examples with fewer distinct samples are padded with
weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.config import PosteriorConfig
from dln_core.layers import LanguageLayer
from dln_core.llm.base import GenerateRequest, LanguageModel
from dln_core.network import Network, Trace
from dln_core.randomness import Choice, generator, sampling_seeds
from dln_core.scoring import Scorer
from dln_core.templates import load_template
from dln_core.types import Example, Message, Role
from dln_core.vi.weights import Array, effective_sample_size, normalize_log_weights

GUIDE_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenSamples:
    """Weighted samples of one hidden layer's output over a batch.

    Attributes:
        texts: B lists of distinct, non-empty texts.
        weights: B x K, rows sum to one, padded with 0.
    """

    texts: tuple[tuple[str, ...], ...]
    weights: Array

    def best(self, example: int) -> str:
        """The text of highest weight."""
        return self.texts[example][int(np.argmax(self.weights[example]))]

    @property
    def mean_effective_sample_size(self) -> float:
        """Effective sample size, averaged over the batch."""
        return float(effective_sample_size(self.weights).mean())

    @property
    def mean_distinct(self) -> float:
        """Distinct samples an example, averaged over the batch."""
        return float(np.mean([len(texts) for texts in self.texts]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A mixture of the prior and the hindsight template that is told what must follow.

    Attributes:
        model: Samples the hidden texts (the backward model).
        scorer: Scores them (by the forward model).
        config: Shares and weights of the mixture.
        num_hidden: K.
    """

    model: LanguageModel
    scorer: Scorer
    config: PosteriorConfig
    num_hidden: int

    async def sample(
        self,
        network: Network,
        index: int,
        batch: Sequence[tuple[Example, Trace, str]],
        rng_key: tuple[int, int],
    ) -> HiddenSamples:
        """Sample and weigh the output of layer ``index`` for every example of a batch.

        Args:
            network: The current network.
            index: A hidden layer.
            batch: Example, its forward trace, and what the next layer has to arrive at.
            rng_key: The trial's seed and the step.
        """

        async def one(item: tuple[int, tuple[Example, Trace, str]]) -> tuple[list[str], Array]:
            row, (example, trace, target) = item
            rng = generator(*rng_key, Choice.hidden, row * len(network.layers) + index)
            texts = await self._draw(network, index, (example, trace, target), rng)
            return texts, await self._log_weights(network, index, (example, trace, target), texts)

        drawn = await map_bounded(one, list(enumerate(batch)))
        width = max(len(texts) for texts, _ in drawn)
        log_weights = np.full((len(drawn), width), -np.inf)
        for row, (texts, values) in enumerate(drawn):
            log_weights[row, : len(texts)] = values
        return HiddenSamples(
            texts=tuple(tuple(texts) for texts, _ in drawn),
            weights=normalize_log_weights(log_weights, temperature=self.config.temperature),
        )

    async def _draw(
        self,
        network: Network,
        index: int,
        item: tuple[Example, Trace, str],
        rng: np.random.Generator,
    ) -> list[str]:
        """Draw up to K distinct texts; the forward pass's own one stands first if wanted."""
        example, trace, target = item
        layer, body = network.layers[index], _body(network, index, example, trace)
        texts = [trace.outputs[index]] if self.config.include_forward else []
        seeds = sampling_seeds(rng, self.num_hidden - len(texts))
        num_hindsight = round(len(seeds) * self.config.hindsight_share)

        async def draw(position: int) -> str:
            told = position < num_hindsight
            messages = hindsight(layer, body, target) if told else layer.messages(body)
            request = GenerateRequest(
                messages=messages,
                max_tokens=layer.max_tokens,
                temperature=GUIDE_TEMPERATURE,
                seed=seeds[position],
                role=Role.posterior,
            )
            return (await self.model.send(request)).choices[0].text.strip()

        texts += await map_bounded(draw, range(len(seeds)))
        distinct = list(dict.fromkeys(text for text in texts if text))
        return distinct or [trace.outputs[index]]

    async def _log_weights(
        self, network: Network, index: int, item: tuple[Example, Trace, str], texts: list[str]
    ) -> Array:
        """Log p(target | h) + log p(h | x) - log q(h | x, target), as far as configured."""
        example, trace, target = item
        layer, body = network.layers[index], _body(network, index, example, trace)
        is_last = index + 1 == len(network.layers) - 1
        following = network.layers[index + 1]

        async def likelihood(text: str) -> float:
            read = network.body(index + 1, example, text)
            if is_last:
                scores = await self.scorer.answer(following, read, example, Role.posterior)
            else:
                scores = await self.scorer.texts(following, read, [target], Role.posterior)
            return float(scores.objective[0])

        log_weights = np.array(await map_bounded(likelihood, texts))
        if not (self.config.use_prior or self.config.use_guide_density):
            return log_weights
        prior = (await self.scorer.texts(layer, body, texts, Role.posterior)).objective
        if self.config.use_prior:
            log_weights += prior
        if self.config.use_guide_density:
            log_weights -= await self._log_guide(layer, body, target, texts, prior)
        return log_weights

    async def _log_guide(
        self, layer: LanguageLayer, body: str, target: str, texts: list[str], prior: Array
    ) -> Array:
        """Density of the mixture of prior and hindsight, at temperature 1."""
        share = self.config.hindsight_share
        if share == 0:
            return prior
        told = await self.scorer.score(hindsight(layer, body, target), texts, Role.posterior)
        if share == 1:
            return told.objective
        mixed: Array = np.logaddexp(np.log(share) + told.objective, np.log1p(-share) + prior)
        return mixed


def hindsight(layer: LanguageLayer, body: str, target: str) -> tuple[Message, ...]:
    """The layer's request, told what the next layer has to arrive at."""
    values = {"body": body, "output_name": layer.output_name, "target": target}
    return layer.messages(load_template("hindsight").question(**values))


def _body(network: Network, index: int, example: Example, trace: Trace) -> str:
    return network.body(index, example, trace.outputs[index - 1] if index else None)
