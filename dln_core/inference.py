"""What a step knows after its forward pass and its guide: the data that prompts are ranked on.

Axes: ``B`` examples of which the first are ranked and the rest are shown to proposals; layers are
indexed from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.evaluation import Prediction
from dln_core.guide import Guide, HiddenSamples
from dln_core.network import Network
from dln_core.proposal import Case, Evidence
from dln_core.ranking import Reading
from dln_core.types import Demonstration, Example
from dln_core.vi.elbo import entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Forward traces and weighted hidden samples of a batch.

    Attributes:
        network: The current network.
        predictions: Its forward passes, ranked examples first.
        hidden: Samples of each hidden layer's output, L - 1 of them.
        num_ranked: How many of the examples rank candidates.
    """

    network: Network
    predictions: tuple[Prediction, ...]
    hidden: tuple[HiddenSamples, ...]
    num_ranked: int

    def readings(self, index: int) -> list[Reading]:
        """What layer ``index`` reads and should write, for every ranked example."""
        return [self._reading(index, row) for row in range(self.num_ranked)]

    def evidence(self, index: int, more: Sequence[Example]) -> Evidence:
        """What proposals for layer ``index`` learn from.

        Args:
            index: The layer.
            more: Training examples that were not run; they serve as worked examples where the
                layer leads from the input straight to the answer.
        """
        rows = range(self.num_ranked, len(self.predictions))
        cases = tuple(self._case(index, row) for row in rows)
        shots = [Demonstration(case.body, case.target) for case in cases]
        is_last = index == len(self.network.layers) - 1
        labels = {label for case in self.predictions for label in case.example.labels}
        if len(self.network.layers) == 1:
            shots += [
                Demonstration(self.network.body(0, example, None), example.target)
                for example in more
            ]
        return Evidence(
            cases, tuple(dict.fromkeys(shots)), tuple(sorted(labels)) if is_last else ()
        )

    def mean_entropy(self, index: int) -> float:
        """Entropy (nats) of layer ``index``'s hidden samples, averaged over ranked examples."""
        return float(entropy(self.hidden[index].weights[: self.num_ranked]).mean())

    def _reading(self, index: int, row: int) -> Reading:
        prediction, is_last = self.predictions[row], index == len(self.network.layers) - 1
        example, previous = prediction.example, self.hidden[index - 1] if index else None
        read: tuple[str | None, ...] = previous.texts[row] if previous else (None,)
        bodies = tuple(self.network.body(index, example, text) for text in read)
        weights = previous.weights[row, : len(read)] if previous else np.ones(1)
        field = self.network.input_field(example)
        if is_last:
            return Reading(example=example, input_field=field, bodies=bodies, body_weights=weights)
        samples = self.hidden[index]
        texts = samples.texts[row]
        return Reading(
            example=example,
            input_field=field,
            bodies=bodies,
            body_weights=weights,
            targets=texts,
            target_weights=samples.weights[row, : len(texts)],
            avoided=None if prediction.is_correct else prediction.trace.outputs[index],
        )

    def _case(self, index: int, row: int) -> Case:
        prediction = self.predictions[row]
        example, outputs = prediction.example, prediction.trace.outputs
        body = self.network.body(index, example, outputs[index - 1] if index else None)
        if index == len(self.network.layers) - 1:
            output = example.target if prediction.is_correct else outputs[index]
            return Case(body, output, example.target)
        return Case(body, outputs[index], self.hidden[index].best(row))


async def infer_hidden(
    guide: Guide, network: Network, predictions: Sequence[Prediction], rng_key: tuple[int, int]
) -> tuple[HiddenSamples, ...]:
    """Sample the hidden texts of every layer but the last, from the answer backwards.

    The best text of one layer is what the layer before it has to arrive at.
    Source: Sordani et al. 2023, appendix E.
    """
    targets = [prediction.example.target for prediction in predictions]
    backwards: list[HiddenSamples] = []
    for index in reversed(range(len(network.layers) - 1)):
        items = [(p.example, p.trace, t) for p, t in zip(predictions, targets, strict=True)]
        samples = await guide.sample(network, index, items, rng_key)
        targets = [samples.best(row) for row in range(len(items))]
        backwards.append(samples)
    return tuple(backwards[::-1])
