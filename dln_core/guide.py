"""The guide q(h | x, y): hidden texts sampled in view of the answer, and their weights.

Axes: ``B`` examples, ``K`` hidden samples; examples with fewer distinct samples are padded with
weight 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.config import GuideConfig, PosteriorConfig
from dln_core.llm.base import GenerateRequest, LanguageModel
from dln_core.network import Network
from dln_core.randomness import sampling_seeds
from dln_core.templates import load_template
from dln_core.types import Message, Role
from dln_core.vi.selection import allocate
from dln_core.vi.weights import Array, sharpen
from dln_core.weighing import Drawn, Observed, Weigher


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenSamples:
    """Weighted samples of one hidden node's text over a batch.

    Attributes:
        texts: B lists of distinct, non-empty texts.
        log_weights: B x K, nats, padded with -inf.
        weights: B x K, rows sum to one, padded with 0.
    """

    texts: tuple[tuple[str, ...], ...]
    log_weights: Array
    weights: Array

    def best(self, row: int) -> str:
        """The text of highest weight."""
        return self.texts[row][int(np.argmax(self.weights[row]))]

    def row_weights(self, row: int) -> Array:
        """The weights of one example's texts, without padding."""
        weights: Array = self.weights[row, : len(self.texts[row])]
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A mixture of the prior, a template that is told what must follow, and one that edits.

    Attributes:
        model: Samples the hidden texts (the backward model).
        weigher: Weighs them (by the forward model).
        mixture: Shares of the mixture.
        posterior: How log-weights become weights.
        num_hidden: K.
    """

    model: LanguageModel
    weigher: Weigher
    mixture: GuideConfig
    posterior: PosteriorConfig
    num_hidden: int

    async def sample(
        self,
        network: Network,
        index: int,
        batch: Sequence[Observed],
        rngs: Sequence[np.random.Generator],
    ) -> HiddenSamples:
        """Sample and weigh the text of one hidden node for every example of a batch.

        Args:
            network: The current network.
            index: A hidden node.
            batch: Examples whose targets are known for all readers of the node.
            rngs: One an example.
        """
        num_drawn = self.num_hidden - (1 if self.mixture.include_forward else 0)
        seeds = [sampling_seeds(rng, num_drawn) for rng in rngs]

        async def one(item: tuple[Observed, list[int]]) -> tuple[Drawn, Array]:
            seen, own_seeds = item
            drawn = await self._draw(network, index, seen, own_seeds)
            return drawn, await self.weigher.log_weights(network, index, seen, drawn)

        weighed = await map_bounded(one, list(zip(batch, seeds, strict=True)))
        width = max(len(drawn.counts) for drawn, _ in weighed)
        log_weights = np.full((len(weighed), width), -np.inf)
        for row, (_, values) in enumerate(weighed):
            log_weights[row, : len(values)] = values
        temperature, hard = self.posterior.temperature, self.posterior.hard
        return HiddenSamples(
            texts=tuple(tuple(drawn.counts) for drawn, _ in weighed),
            log_weights=log_weights,
            weights=sharpen(log_weights, temperature=temperature, hard=hard),
        )

    async def _draw(
        self, network: Network, index: int, seen: Observed, seeds: Sequence[int]
    ) -> Drawn:
        """Draw K texts and count equal ones; the forward pass's own stands first if wanted."""
        shares = self.mixture.shares()
        numbers = allocate(len(seeds), list(shares.values()))
        parts = [name for name, number in zip(shares, numbers, strict=True) for _ in range(number)]
        asked = requests(network, index, seen)

        async def draw(item: tuple[str, int]) -> str:
            part, seed = item
            request = GenerateRequest(
                messages=asked[part],
                max_tokens=network.writer(index).max_tokens,
                temperature=self.mixture.temperature,
                seed=seed,
                role=Role.posterior,
            )
            return (await self.model.send(request)).choices[0].text.strip()

        own = [seen.trace.texts[index]]
        drawn = await map_bounded(draw, list(zip(parts, seeds, strict=True)))
        texts = [text for text in drawn if text]
        return Drawn(Counter(own + texts if self.mixture.include_forward else texts or own), asked)


def requests(network: Network, index: int, seen: Observed) -> dict[str, tuple[Message, ...]]:
    """What each part of the guide's mixture is asked for one hidden text."""
    writer = network.writer(index)
    body = network.body(index, seen.example, dict(enumerate(seen.trace.texts)))
    readers = [network.writer(reader) for reader in network.graph.readers(index)]
    values = {
        "body": body,
        "output_name": writer.output_name,
        "target": seen.told(network, index),
        "draft": seen.trace.texts[index],
        "following": "\n".join(dict.fromkeys(layer.prompt.instruction for layer in readers)),
    }
    return {
        "prior": writer.messages(body),
        "hindsight": writer.messages(load_template("hindsight").question(**values)),
        "edit": writer.messages(load_template("edit").question(**values)),
    }
