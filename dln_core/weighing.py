"""Log-weights of hidden samples: how well each explains the answer, and how likely it was drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.config import GuideConfig, PosteriorConfig
from dln_core.network import Network
from dln_core.scoring import Scorer
from dln_core.trace import Trace
from dln_core.types import Example, Message, Role
from dln_core.vi.weights import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One example after its forward pass.

    Attributes:
        example: The example.
        trace: What the network wrote on it.
        targets: For every node that inference has reached, what it should have written.
        seeds: Seeds of the samples that stand in for log-probs where there are none.
    """

    example: Example
    trace: Trace
    targets: Mapping[int, str]
    seeds: Sequence[int]

    def told(self, network: Network, index: int) -> str:
        """What the readers of a node have to arrive at."""
        targets = [self.targets[reader] for reader in network.graph.readers(index)]
        return "\n".join(dict.fromkeys(targets))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples of one hidden text.

    Attributes:
        counts: How often each distinct text was drawn.
        requests: What each part of the guide's mixture was asked.
    """

    counts: Counter[str]
    requests: Mapping[str, tuple[Message, ...]]


class Weigher(Protocol):
    """Weighs hidden samples."""

    async def log_weights(
        self, network: Network, index: int, seen: Observed, drawn: Drawn
    ) -> Array:
        """Log-weights (nats, on the training scale) of the distinct texts of a hidden node.

        That of a text does not depend on the others.

        Raises:
            RequestError: If the endpoint refuses any of them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobWeigher:
    """log p(target | h) + log p(h | x) - log q(h | x, target), as far as configured.

    Attributes:
        scorer: Scores texts by the forward model.
        config: What enters the weights.
        mixture: Shares of the guide.
    """

    scorer: Scorer
    config: PosteriorConfig
    mixture: GuideConfig

    async def log_weights(
        self, network: Network, index: int, seen: Observed, drawn: Drawn
    ) -> Array:
        """Weigh the texts of a hidden node by what its readers make of them."""
        texts, factor = list(drawn.counts), self.config.mutual_information

        async def one(text: str) -> float:
            shown = await self._likelihood(network, index, seen, text, with_input=True)
            if factor == 0:
                return shown
            bare = await self._likelihood(network, index, seen, text, with_input=False)
            return shown - factor * bare

        log_weights = np.array(await map_bounded(one, texts))
        log_weights += await self._densities(drawn, texts)
        if self.config.use_guide_density:
            # Without -log q equal draws are one point of the posterior; with it each draw counts.
            log_weights += np.log(list(drawn.counts.values()))
        return log_weights

    async def _likelihood(
        self, network: Network, index: int, seen: Observed, text: str, *, with_input: bool
    ) -> float:
        """Add up the log-probs of what the readers of a text should write."""
        texts = substituted(network, index, seen.trace, text)

        async def one(reader: int) -> float:
            writer = network.writer(reader)
            body = network.body(reader, seen.example, texts, with_input=with_input)
            if reader in network.graph.answers:
                scores = await self.scorer.answer(writer, body, seen.example, Role.posterior)
                return float(scores.objective[0]) / len(network.graph.answers)
            scores = await self.scorer.texts(writer, body, [seen.targets[reader]], Role.posterior)
            return float(scores.objective[0])

        return sum(await map_bounded(one, network.graph.readers(index)))

    async def _densities(self, drawn: Drawn, texts: Sequence[str]) -> Array:
        """Log p(h | x) - log q(h | x, target) of each text, each term if it is used."""
        config = self.config
        shares = {part: share for part, share in self.mixture.shares().items() if share > 0}
        needed = ["prior"] if config.use_prior else []
        needed += [part for part in shares if config.use_guide_density and part not in needed]

        async def density(part: str) -> Array:
            scores = await self.scorer.score(drawn.requests[part], texts, Role.posterior)
            return scores.objective

        densities = dict(zip(needed, await map_bounded(density, needed), strict=True))
        result = densities["prior"] if config.use_prior else np.zeros(len(texts))
        if config.use_guide_density:
            total = sum(shares.values())
            parts = [np.log(share / total) + densities[part] for part, share in shares.items()]
            result = result - np.logaddexp.reduce(np.array(parts), axis=0)
        return result


def substituted(network: Network, index: int, trace: Trace, text: str) -> dict[int, str]:
    """The texts of a trace with one hidden text replaced, and what follows from it by rule."""
    after = network.graph.after([index])
    kept = {
        node: written
        for node, written in enumerate(trace.texts)
        if node not in after or network.graph.is_written(node)
    }
    return network.complete(kept | {index: text})
