"""Training: one step of variational inference over the prompts of a network.

A step runs the network on a batch, samples hidden texts in view of the answers, weighs them,
proposes candidate prompts for every trained layer and keeps the best.  DLN-1 has no hidden text;
DLN-2 has one.  Source: Sordani et al. 2023, Algorithms 1 and 2, and appendix E for more layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dln_core.concurrency import run_all
from dln_core.config import TrainerConfig
from dln_core.evaluation import accuracy, evaluate
from dln_core.guide import Guide
from dln_core.inference import Inference, infer_hidden
from dln_core.llm.base import LanguageModel
from dln_core.network import Network
from dln_core.proposal import Candidate, Proposal
from dln_core.randomness import Choice, generator
from dln_core.ranking import Ranker, Ranking, shows
from dln_core.scoring import Scorer
from dln_core.state import Remembered, TrainerState
from dln_core.tasks.task import Task
from dln_core.types import Demonstration, Example, Prompt, Role
from dln_core.vi.selection import decayed


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one step.

    Attributes:
        ranked: Candidates are ranked on these.
        cases: Proposals see what the network makes of these.
        rest: All other training examples.
    """

    ranked: tuple[Example, ...]
    cases: tuple[Example, ...]
    rest: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """What a step did to one layer."""

    candidates: tuple[Candidate, ...]
    ranking: Ranking

    @property
    def prompt(self) -> Prompt:
        """The prompt that was selected."""
        return self.candidates[self.ranking.selected].prompt


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What is recorded of a step; nothing depends on it."""

    metrics: dict[str, float]
    candidates: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """Trains a network on a task.

    Attributes:
        task: Data and judge.
        config: The training loop's settings.
        forward_model: Runs and scores the network.
        backward_model: Writes hidden samples and proposals.
        seed: The trial's seed.
    """

    task: Task
    config: TrainerConfig
    forward_model: LanguageModel
    backward_model: LanguageModel
    seed: int

    async def initial_state(self, network: Network) -> TrainerState:
        """Validate the initial network."""
        first = Remembered(network, await self.validate(network))
        return TrainerState(
            step=0,
            network=network,
            best=first,
            best_step=0,
            memory=(first,)[: self.config.selection.memory],
        )

    async def validate(self, network: Network) -> float:
        """Accuracy on the dev split."""
        dev = self.task.splits.dev
        return accuracy(await evaluate(network, self.forward_model, self.task, dev, role=Role.dev))

    def draw_batch(self, state: TrainerState) -> Batch:
        """Draw the examples of the next step, without replacement.

        Examples that the current or a remembered prompt shows do not rank, since those prompts are
        candidates too; where all are shown, all may be drawn.
        """
        rng = generator(self.seed, state.step + 1, Choice.batch)
        train = self.task.splits.train
        order = [train[i] for i in rng.permutation(len(train))]
        shown = _demonstrations([state.network, *(entry.network for entry in state.memory)])
        fields = [state.network.input_field(example) for example in order]
        fresh = [
            example
            for example, field in zip(order, fields, strict=True)
            if not any(shows(demonstration, field) for demonstration in shown)
        ]
        # At least one example is left for proposals to learn from.
        ranked = (fresh or order)[: min(self.config.batch_size, len(order) - 1)]
        ids = {example.id for example in ranked}
        others = [example for example in order if example.id not in ids]
        num_cases = self.config.proposal.num_cases
        return Batch(tuple(ranked), tuple(others[:num_cases]), tuple(others[num_cases:]))

    async def step(self, state: TrainerState, batch: Batch) -> tuple[TrainerState, StepInfo]:
        """Make one training step; validate when it is due."""
        step, network = state.step + 1, state.network
        inference = await self._infer(network, batch, step)
        updates = await run_all(
            *(
                partial(self._update_layer, state, index, inference, batch)
                for index in range(len(network.layers))
            )
        )
        metrics = _metrics(updates, inference)
        for index, update in enumerate(updates):
            network = network.with_layer(index, network.layers[index].with_prompt(update.prompt))
        after = replace(state, step=step, network=network)
        if self._is_validated(step):
            dev_accuracy = await self.validate(network)
            metrics["dev/accuracy"] = dev_accuracy
            after = self._remember(after, dev_accuracy)
        return after, StepInfo(metrics, _candidate_records(network, updates))

    async def _infer(self, network: Network, batch: Batch, step: int) -> Inference:
        examples = (*batch.ranked, *batch.cases)
        predictions = await evaluate(
            network, self.forward_model, self.task, examples, role=Role.forward
        )
        guide = Guide(
            model=self.backward_model,
            scorer=self._scorer(),
            config=self.config.posterior,
            num_hidden=self.config.num_hidden,
        )
        return Inference(
            network=network,
            predictions=tuple(predictions),
            hidden=await infer_hidden(guide, network, predictions, (self.seed, step)),
            num_ranked=len(batch.ranked),
        )

    async def _update_layer(
        self, state: TrainerState, index: int, inference: Inference, batch: Batch
    ) -> LayerUpdate:
        """Propose prompts for one layer and rank them; a layer not trained ranks its own alone."""
        step, layer = state.step + 1, state.network.layers[index]
        selection = self.config.selection
        candidates = [Candidate(layer.prompt, "current")]
        if layer.trained:
            remembered = (entry.network.layers[index].prompt for entry in state.memory)
            candidates += [
                Candidate(prompt, "memory")
                for prompt in dict.fromkeys(remembered)
                if prompt != layer.prompt
            ]
            candidates += await Proposal(
                model=self.backward_model, config=self.config.proposal
            ).propose(
                layer,
                [candidate.prompt for candidate in candidates],
                inference.evidence(index, batch.rest),
                self.config.num_prompts,
                generator(self.seed, step, Choice.proposal, index),
            )
        ranker = Ranker(
            scorer=self._scorer(),
            trust_factor=selection.trust_factor,
            exploration=decayed(selection.exploration, step, self.config.num_iterations),
        )
        ranking = await ranker.rank(layer, candidates, inference.readings(index))
        return LayerUpdate(tuple(candidates), ranking)

    def _scorer(self) -> Scorer:
        return Scorer(self.forward_model, self.config.selection)

    def _is_validated(self, step: int) -> bool:
        if step == self.config.num_iterations:
            return True
        every = self.config.validate_every
        return every > 0 and step % every == 0

    def _remember(self, state: TrainerState, dev_accuracy: float) -> TrainerState:
        """Enter a validated network into the memory; go back to the best one after a drought."""
        current = Remembered(state.network, dev_accuracy)
        known = [entry for entry in state.memory if entry.network != state.network]
        # The sort is stable: of equal networks the older one comes first.
        ordered = sorted([*known, current], key=lambda entry: -entry.dev_accuracy)
        memory = tuple(ordered[: self.config.selection.memory])
        if dev_accuracy > state.best.dev_accuracy:
            return replace(state, memory=memory, best=current, best_step=state.step, num_stale=0)
        tolerance = self.config.selection.tolerance
        num_stale = state.num_stale + 1
        if 0 <= tolerance < num_stale:
            best = state.best.network
            return replace(state, memory=memory, network=best, num_stale=0)
        return replace(state, memory=memory, num_stale=num_stale)


def _demonstrations(networks: Iterable[Network]) -> set[Demonstration]:
    return {
        demonstration
        for network in networks
        for prompt in network.prompts()
        for demonstration in prompt.demonstrations
    }


def _metrics(updates: Sequence[LayerUpdate], inference: Inference) -> dict[str, float]:
    """What a step reports: bounds in nats, averaged over the ranked examples."""
    ranked = inference.predictions[: inference.num_ranked]
    metrics = {"train/accuracy": accuracy(ranked)}
    bounds: list[float] = []
    for index, update in enumerate(updates):
        ranking, number = update.ranking, index + 1
        bound = float(ranking.logprob[ranking.selected])
        if index < len(inference.hidden):
            hidden_entropy = inference.mean_entropy(index)
            samples = inference.hidden[index]
            bound += hidden_entropy
            metrics[f"train/entropy_layer{number}"] = hidden_entropy
            metrics[f"train/effective_sample_size_layer{number}"] = (
                samples.mean_effective_sample_size
            )
            metrics[f"train/distinct_hidden_layer{number}"] = samples.mean_distinct
        bounds.append(bound)
        metrics[f"train/elbo_layer{number}"] = bound
        metrics[f"train/objective_layer{number}"] = float(ranking.objective[ranking.selected])
        metrics[f"train/trust_region_kl_layer{number}"] = float(
            ranking.trust_region_kl[ranking.selected]
        )
        metrics[f"train/accepted_layer{number}"] = float(ranking.selected > 0)
    metrics["train/elbo"] = sum(bounds)
    metrics["train/objective"] = sum(
        float(update.ranking.objective[update.ranking.selected]) for update in updates
    )
    return metrics


def _candidate_records(network: Network, updates: Sequence[LayerUpdate]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for layer, update in zip(network.layers, updates, strict=True):
        ranking = update.ranking
        for index, candidate in enumerate(update.candidates):
            records.append(
                {"layer": layer.name, "index": index, "source": candidate.source}
                | candidate.prompt.to_dict()
                | {
                    "reward": float(ranking.rewards[index]),
                    "objective": float(ranking.objective[index]),
                    "trust_region_kl": float(ranking.trust_region_kl[index]),
                    "selected": index == ranking.selected,
                }
            )
    return records
