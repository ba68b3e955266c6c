"""The guide q(h | x, y): hidden texts sampled in view of the answer, and their weights.

Axes: ``B`` examples, ``K`` hidden samples; examples with fewer distinct samples are padded with
weight 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dln_core.concurrency import map_bounded, map_surviving, parted
from dln_core.config import GuideConfig, PosteriorConfig
from dln_core.errors import RequestError
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

    def of_rows(self, rows: Sequence[int]) -> HiddenSamples:
        """The samples of some of the examples."""
        return HiddenSamples(
            texts=tuple(self.texts[row] for row in rows),
            log_weights=self.log_weights[list(rows)],
            weights=self.weights[list(rows)],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What the guide made of a batch.

    Attributes:
        samples: Of the examples of which a text could be weighed.
        rows: Positions of those examples in the batch.
        failures: Draws and texts that the endpoint refused, in the order of the batch.
        lost: Why each of the other examples has no text that could be weighed.
    """

    samples: HiddenSamples
    rows: tuple[int, ...]
    failures: tuple[RequestError, ...]
    lost: tuple[RequestError, ...]


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The texts of one example that could be drawn and weighed, and what could not."""

    texts: tuple[str, ...]
    log_weights: Array
    failures: tuple[RequestError, ...]


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
    ) -> Sampled:
        """Sample and weigh the text of one hidden node for every example of a batch.

        A draw that the endpoint refuses is left out, as is a text that it refuses to weigh.

        Args:
            network: The current network.
            index: A hidden node.
            batch: Examples whose targets are known for all readers of the node.
            rngs: One an example.
        """
        num_drawn = self.num_hidden - (1 if self.mixture.include_forward else 0)
        seeds = [sampling_seeds(rng, num_drawn) for rng in rngs]

        async def one(item: tuple[Observed, list[int]]) -> _Weighed:
            seen, own_seeds = item
            drawn, refusals = await self._draw(network, index, seen, own_seeds)
            weighed = await self._weigh(network, index, seen, drawn)
            return replace(weighed, failures=(*refusals, *weighed.failures))

        weighed = await map_bounded(one, list(zip(batch, seeds, strict=True)))
        rows = tuple(row for row, one in enumerate(weighed) if one.texts)
        return Sampled(
            samples=self._samples([weighed[row] for row in rows]),
            rows=rows,
            failures=tuple(failure for one in weighed for failure in one.failures),
            lost=tuple(one.failures[-1] for one in weighed if not one.texts),
        )

    def _samples(self, weighed: Sequence[_Weighed]) -> HiddenSamples:
        width = max((len(one.texts) for one in weighed), default=1)
        log_weights = np.full((len(weighed), width), -np.inf)
        for row, one in enumerate(weighed):
            log_weights[row, : len(one.texts)] = one.log_weights
        temperature, hard = self.posterior.temperature, self.posterior.hard
        return HiddenSamples(
            texts=tuple(one.texts for one in weighed),
            log_weights=log_weights,
            weights=sharpen(log_weights, temperature=temperature, hard=hard),
        )

    async def _weigh(self, network: Network, index: int, seen: Observed, drawn: Drawn) -> _Weighed:
        """Weigh the drawn texts of an example, each on its own if any of them is refused."""
        texts = tuple(drawn.counts)
        try:
            return _Weighed(texts, await self.weigher.log_weights(network, index, seen, drawn), ())
        except RequestError:
            # Texts share requests: only alone does each show whether it is to blame.
            pass

        async def alone(text: str) -> tuple[str, float]:
            single = replace(drawn, counts=Counter({text: drawn.counts[text]}))
            return text, float((await self.weigher.log_weights(network, index, seen, single))[0])

        known, refusals = parted(await map_surviving(alone, texts))
        log_weights = np.array([value for _, value in known])
        return _Weighed(tuple(text for text, _ in known), log_weights, tuple(refusals))

    async def _draw(
        self, network: Network, index: int, seen: Observed, seeds: Sequence[int]
    ) -> tuple[Drawn, list[RequestError]]:
        """Draw K texts and count equal ones; the forward pass's own stands first if wanted.

        Draws that are refused are returned as such.
        """
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
        drawn, refusals = parted(await map_surviving(draw, list(zip(parts, seeds, strict=True))))
        texts = [text for text in drawn if text]
        counts = Counter(own + texts if self.mixture.include_forward else texts or own)
        return Drawn(counts, asked), refusals


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
