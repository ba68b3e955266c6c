"""What a step knows after its forward pass and its guide: the data that prompts are ranked on.

Axes: ``B`` examples, of which the first are ranked and the rest are shown to proposals; ``V``
hidden nodes; ``J`` joint configurations of their samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dln_core.evaluation import Prediction
from dln_core.failures import Failures, merged
from dln_core.graph import Slot
from dln_core.guide import Guide, HiddenSamples
from dln_core.network import Network
from dln_core.proposals.evidence import Case, Evidence
from dln_core.randomness import Choice, generator, sampling_seeds
from dln_core.reading import Part, Reading
from dln_core.types import Demonstration, Example
from dln_core.vi.elbo import entropy, importance_weighted_bound
from dln_core.vi.joint import most_probable, pairs
from dln_core.vi.weights import Array, effective_sample_size
from dln_core.weighing import Observed

# Expectations run over at most this many joint configurations of an example's hidden texts.  A
# chain of three layers has K squared; only wide and deep networks are cut to the most probable.
MAX_CONFIGURATIONS = 64


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Forward traces and weighted hidden samples of a batch.

    Attributes:
        network: The current network.
        labels: All answers that an example may offer; empty for free text.
        observed: Its forward passes with what each node should have written, ranked ones first.
        are_correct: Whether each prediction is right.
        samples: Samples of every hidden node; none before the guide has run.
        num_ranked: How many of the examples rank candidates.
        num_draws: K, if log-weights are log p(y, h) - log q(h) of K draws from the guide in nats;
            else None.
        failures: What was lost so far, examples that are no longer here among it.
    """

    network: Network
    labels: tuple[str, ...]
    observed: tuple[Observed, ...]
    are_correct: tuple[bool, ...]
    samples: dict[int, HiddenSamples]
    num_ranked: int
    num_draws: int | None = None
    failures: Failures = field(default_factory=dict)

    def of_rows(self, rows: Sequence[int]) -> Inference:
        """What is known of some of the examples, given in their order."""
        return replace(
            self,
            observed=tuple(self.observed[row] for row in rows),
            are_correct=tuple(self.are_correct[row] for row in rows),
            samples={node: samples.of_rows(rows) for node, samples in self.samples.items()},
            num_ranked=sum(row < self.num_ranked for row in rows),
        )

    def readings(self, slot: Slot) -> list[Reading]:
        """What the nodes of a prompt read and should write, for every ranked example."""
        return [
            Reading(
                example=self.observed[row].example,
                input_field=self.network.input_field(self.observed[row].example),
                parts=tuple(self._part(node, row) for node in self.network.nodes_of(slot)),
                row=row,
            )
            for row in range(self.num_ranked)
        ]

    def evidence(self, slot: Slot, more: Sequence[Example]) -> Evidence:
        """What proposals for a prompt learn from; for an answering prompt it needs no samples.

        Args:
            slot: The place of the prompt.
            more: Training examples that were not run; they serve as worked examples where the
                network leads from the input straight to the answer.
        """
        rows = range(self.num_ranked, len(self.observed))
        nodes = self.network.nodes_of(slot)
        cases = tuple(self._case(node, row) for row in rows for node in nodes)
        shots = [Demonstration(case.body, case.target) for case in cases]
        answers = self.network.graph.answers
        if not self.network.graph.hidden:
            shots += [
                Demonstration(self.network.body(answers[0], example, {}), example.target)
                for example in more
            ]
        labels = self.labels if nodes[0] in answers else ()
        return Evidence(cases, tuple(dict.fromkeys(shots)), labels)

    def entropy_of(self, node: int) -> float:
        """Entropy (nats) of a hidden node's samples, averaged over ranked examples."""
        return float(entropy(self.samples[node].weights[: self.num_ranked]).mean())

    def effective_sample_size_of(self, node: int) -> float:
        """Effective sample size of a hidden node, averaged over ranked examples."""
        return float(effective_sample_size(self.samples[node].weights[: self.num_ranked]).mean())

    def num_distinct_of(self, node: int) -> float:
        """Distinct samples of a hidden node, averaged over ranked examples."""
        return float(np.mean([len(texts) for texts in self.samples[node].texts[: self.num_ranked]]))

    def joint_entropy(self) -> float:
        """Entropy (nats) of all hidden texts together, averaged over ranked examples."""
        rows = [self._configurations[row][1] for row in range(self.num_ranked)]
        return float(np.mean([entropy(weights) for weights in rows]))

    def importance_weighted_bound(self) -> float | None:
        """Bound from draws weighted by p / q, averaged over ranked examples.

        None unless the log-weights of one hidden node are such draws' own.
        """
        if len(self.samples) != 1 or self.num_draws is None:
            return None
        (samples,) = self.samples.values()
        drawn = np.full((self.num_ranked, self.num_draws), -np.inf)
        log_weights = samples.log_weights[: self.num_ranked, : self.num_draws]
        drawn[:, : log_weights.shape[1]] = log_weights
        return float(importance_weighted_bound(drawn).mean())

    @cached_property
    def _configurations(self) -> list[tuple[NDArray[np.intp], Array]]:
        """For every example the most probable joint configurations (J x V) and their weights."""
        nodes = list(self.samples)
        return [
            most_probable(
                [self.samples[node].row_weights(row) for node in nodes], MAX_CONFIGURATIONS
            )
            for row in range(len(self.observed))
        ]

    def _part(self, node: int, row: int) -> Part:
        indices, weights = self._configurations[row]
        hidden, seen = list(self.samples), self.observed[row]
        bodies: dict[str, int] = {}
        positions = np.empty(len(indices), dtype=np.intp)
        for number, configuration in enumerate(indices):
            chosen = {
                other: self.samples[other].texts[row][position]
                for other, position in zip(hidden, configuration, strict=True)
            }
            body = self.network.body(node, seen.example, self.network.complete(chosen))
            positions[number] = bodies.setdefault(body, len(bodies))
        answers = self.network.graph.answers
        if node in answers:
            targets: tuple[str, ...] = ()
            written = np.zeros(len(indices), dtype=np.intp)
        else:
            targets = self.samples[node].texts[row]
            written = indices[:, hidden.index(node)]
        return Part(
            node=node,
            bodies=tuple(bodies),
            targets=targets,
            weights=pairs(written, weights, positions, len(bodies), max(1, len(targets))),
            avoided=None if not targets or self.are_correct[row] else seen.trace.texts[node],
            share=1.0 if targets else 1.0 / len(answers),
        )

    def _case(self, node: int, row: int) -> Case:
        seen = self.observed[row]
        body = self.network.body(node, seen.example, dict(enumerate(seen.trace.texts)))
        target, answers = seen.targets[node], self.network.graph.answers
        # A judge may accept other words for the target; copies that vote are not judged one by one.
        is_right = answers == (node,) and self.are_correct[row]
        output = target if is_right else seen.trace.texts[node]
        return Case(body, output, target, seen.example.input)


def observe(
    network: Network,
    predictions: Sequence[Prediction],
    rng_key: tuple[int, int],
    num_seeds: int,
) -> tuple[Observed, ...]:
    """Compare forward passes with the right answers.

    Args:
        network: The current network.
        predictions: Its forward passes.
        rng_key: The trial's seed and the step.
        num_seeds: Samples an example that stand in for log-probs.
    """
    answers = network.graph.answers
    return tuple(
        Observed(
            example=prediction.example,
            trace=prediction.trace,
            targets=dict.fromkeys(answers, prediction.example.target),
            seeds=sampling_seeds(generator(*rng_key, Choice.rollout, row), num_seeds),
        )
        for row, prediction in enumerate(predictions)
    )


async def infer(guide: Guide, forward: Inference, rng_key: tuple[int, int]) -> Inference:
    """Add samples of the text of every hidden node, from the answer backwards.

    The best text of one node is what the nodes before it have to arrive at.  An example without any
    text that could be weighed is left out from there on.

    Args:
        guide: Samples and weighs.
        forward: The current network's forward passes with the right answers.
        rng_key: The trial's seed and the step.

    Source: Sordani et al. 2023, appendix E.
    """
    network, known = forward.network, forward
    num_nodes, places = len(network.graph.nodes), list(range(len(forward.observed)))
    for node in reversed(network.graph.hidden):
        rngs = [generator(*rng_key, Choice.hidden, place * num_nodes + node) for place in places]
        sampled = await guide.sample(network, node, known.observed, rngs)
        places = [places[row] for row in sampled.rows]
        known = known.of_rows(sampled.rows)
        known = replace(
            known,
            observed=tuple(
                replace(seen, targets={**seen.targets, node: sampled.samples.best(row)})
                for row, seen in enumerate(known.observed)
            ),
            samples={node: sampled.samples, **known.samples},
            failures=merged(
                known.failures,
                {"train/failed": sampled.lost, "train/failed_samples": sampled.failures},
            ),
        )
    return known
