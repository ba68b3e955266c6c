"""Training: one step of variational inference over the prompts of a network.

A step runs the network on a batch, samples hidden texts in view of the answers, weighs them,
proposes candidates for every trained prompt and keeps the best.  DLN-1 has no hidden text; DLN-2
has one.  Source: Sordani et al. 2023, Algorithms 1 and 2, and appendix E for more layers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from dln_core.batches import Batch, draw_batch
from dln_core.calibration import calibrated
from dln_core.concurrency import Shared, map_bounded, run_all
from dln_core.config import ScoringConfig, TrainerConfig
from dln_core.evaluation import evaluate, failed, on_metric, samples
from dln_core.failures import Failures, merged
from dln_core.graph import Slot
from dln_core.guide import Guide
from dln_core.inference import Inference, infer, observe
from dln_core.llm.base import LanguageModel
from dln_core.measuring import LogprobMeasure, Measure
from dln_core.montecarlo import MonteCarloMeasure, MonteCarloWeigher, Rollouts
from dln_core.network import Network
from dln_core.proposals.evidence import Candidate, Evidence, Proposed
from dln_core.proposals.guard import Guard
from dln_core.proposals.proposal import Proposal
from dln_core.randomness import Choice, generator
from dln_core.ranking import Ranker
from dln_core.recording import StepInfo, Update, record
from dln_core.scoring import Scorer
from dln_core.state import Remembered, TrainerState
from dln_core.tasks.task import Task
from dln_core.types import Prompt, Role
from dln_core.vi.selection import Penalties, decayed
from dln_core.weighing import LogprobWeigher


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains a network on a task.

    Attributes:
        task: Data and judge.
        config: The training loop's settings.
        scoring: How many samples stand in for log-probs.
        forward_model: Runs and scores the network.
        backward_model: Writes hidden samples and proposals.
        guard: Refuses proposals that copy dev or test texts, among others.
        seed: The trial's seed.
        has_logprobs: Whether the forward model gives log-probs of whole texts; without them
            answers are sampled and judged.
        calibrates: Whether the label prior of prompts is divided out.
    """

    task: Task
    config: TrainerConfig
    forward_model: LanguageModel
    backward_model: LanguageModel
    guard: Guard
    seed: int
    scoring: ScoringConfig
    has_logprobs: bool = True
    calibrates: bool = False

    async def initial_state(self, network: Network) -> TrainerState:
        """Validate the initial network."""
        first = await self.validate(network)
        return TrainerState(
            step=0,
            network=first.network,
            best=first,
            best_step=0,
            memory=(first,)[: self.config.selection.memory],
        )

    async def validate(self, network: Network) -> Remembered:
        """Measure the network on the dev split, calibrated if it is to be."""
        network, failures = await self._calibrated(network)
        dev = self.task.splits.dev
        predictions = await evaluate(network, self.forward_model, self.task, dev, role=Role.dev)
        failures = merged(failures, {"dev/failed": failed(predictions)})
        dev_accuracy = on_metric(predictions, self.task.metric)
        return Remembered(network, dev_accuracy, failures, samples(predictions))

    def is_trained_out(self, state: TrainerState) -> bool:
        """Whether there is no step left, or dev accuracy has not improved for too long."""
        patience = self.config.patience
        has_stalled = patience is not None and state.num_stale >= patience
        return state.step >= self.config.num_iterations or has_stalled

    async def conclude(self, state: TrainerState) -> tuple[TrainerState, Failures]:
        """Validate the last network of a training that stops early, unless it is validated."""
        if state.step == 0 or self._is_validated(state.step):
            return state, {}
        validated = await self.validate(state.network)
        return self._remember(replace(state, network=validated.network), validated), (
            validated.failures
        )

    def draw_batch(self, state: TrainerState) -> Batch:
        """Draw the examples of the next step, without replacement."""
        return draw_batch(state, self.task.splits.train, self.config, self.seed)

    async def step(self, state: TrainerState, batch: Batch) -> tuple[TrainerState, StepInfo]:
        """Make one training step; validate when it is due.

        The prompts are updated side by side.  Each update waits only for what it needs: proposals
        for an answering prompt for the forward pass alone, all else for the hidden samples too.
        """
        step, network = state.step + 1, state.network
        forward = await self._forward(network, batch, step)
        guided = Shared(partial(infer, self._guide, forward, (self.seed, step)))
        updates = await run_all(
            *(partial(self._update, state, slot, forward, guided, batch) for slot in network.slots)
        )
        inference = await guided.get()
        for update in updates:
            if update.prompt != network.prompt(update.slot):
                network = network.with_prompt(update.slot, update.prompt)
        info = record(updates, inference)
        if not self._is_validated(step):
            network, failures = await self._calibrated(network)
            info.add(failures)
        after = replace(state, step=step, network=network)
        if self._is_validated(step):
            validated = await self.validate(network)
            info.metrics["dev/accuracy"] = validated.dev_accuracy
            info.add(validated.failures)
            info.samples.extend(validated.samples)
            after = self._remember(replace(after, network=validated.network), validated)
        return after, info

    async def _calibrated(self, network: Network) -> tuple[Network, Failures]:
        if not self.calibrates:
            return network, {}
        train = self.task.splits.train
        network, refusals = await calibrated(network, self.forward_model, train, Role.dev)
        return network, {"train/failed_calibration": refusals}

    async def propose(self, network: Network) -> dict[Slot, Proposed]:
        """Propose prompts for each trained slot of a network as a first step would; rank none."""
        batch = self.draw_batch(
            TrainerState(step=0, network=network, best=Remembered(network, 0.0), best_step=0)
        )
        # One example has to be ranked; the others would be run for nothing here.
        seen = replace(batch, ranked=batch.ranked[:1])
        known = await self._forward(network, seen, 1)
        if network.graph.hidden:
            known = await infer(self._guide, known, (self.seed, 1))
        slots = [slot for slot in network.slots if network.writer_layer(slot.layer).trained]

        def propose(slot: Slot) -> Awaitable[Proposed]:
            evidence = known.evidence(slot, batch.rest)
            return self._proposed(network, slot, [network.prompt(slot)], evidence, 1)

        return dict(zip(slots, await map_bounded(propose, slots), strict=True))

    async def _proposed(
        self,
        network: Network,
        slot: Slot,
        parents: Sequence[Prompt],
        evidence: Evidence,
        step: int,
    ) -> Proposed:
        return await self._proposal.propose(
            network.writer_layer(slot.layer).output_name,
            parents,
            evidence,
            self.config.num_prompts,
            generator(self.seed, step, Choice.proposal, network.slots.index(slot)),
        )

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.forward_model, self.config.selection)

    @cached_property
    def _rollouts(self) -> Rollouts:
        return Rollouts(model=self.forward_model, task=self.task)

    @cached_property
    def _guide(self) -> Guide:
        weigher = LogprobWeigher(
            scorer=self._scorer, config=self.config.posterior, mixture=self.config.guide
        )
        return Guide(
            model=self.backward_model,
            weigher=weigher if self.has_logprobs else MonteCarloWeigher(self._rollouts),
            mixture=self.config.guide,
            posterior=self.config.posterior,
            num_hidden=self.config.num_hidden,
        )

    @cached_property
    def _proposal(self) -> Proposal:
        return Proposal(
            model=self.backward_model,
            config=self.config.proposal,
            guard=self.guard,
        )

    async def _forward(self, network: Network, batch: Batch, step: int) -> Inference:
        """Run the network on a batch; nothing is known of its hidden texts yet.

        Examples that fail leave the batch.

        Raises:
            RequestError: The first refusal, if no ranked example is left.
        """
        examples = (*batch.ranked, *batch.cases)
        predictions = await evaluate(
            network, self.forward_model, self.task, examples, role=Role.forward
        )
        failures = failed(predictions)
        num_ranked = len(batch.ranked) - len(failed(predictions[: len(batch.ranked)]))
        if num_ranked == 0:
            raise failures[0]
        predictions = [one for one in predictions if one.failure is None]
        num_seeds = 0 if self.has_logprobs else self.scoring.num_samples
        return Inference(
            network=network,
            labels=self.task.labels,
            observed=observe(network, predictions, (self.seed, step), num_seeds),
            are_correct=tuple(prediction.is_correct for prediction in predictions),
            samples={},
            num_ranked=num_ranked,
            num_draws=self.config.num_hidden if self._draws_are_weighted else None,
            failures={"train/failed": failures},
        )

    @property
    def _draws_are_weighted(self) -> bool:
        """Whether log-weights are those of draws from the guide, in nats."""
        config = self.config
        return (
            self.has_logprobs
            and config.posterior.use_prior
            and config.posterior.use_guide_density
            and config.posterior.mutual_information == 0
            and config.selection.logprob_scale == "sum"
            and config.guide.temperature == 1.0
            and not config.guide.include_forward
        )

    async def _update(
        self,
        state: TrainerState,
        slot: Slot,
        forward: Inference,
        guided: Shared[Inference],
        batch: Batch,
    ) -> Update:
        """Propose and rank prompts for one slot; one that is not trained ranks its own alone."""
        step, network = state.step + 1, state.network
        layer, current = network.writer_layer(slot.layer), network.prompt(slot)
        candidates = [Candidate(current, "current")]
        proposed = Proposed(candidates=(), refused={}, num_shrunk=0)
        phase = self.config.phase(step)
        if layer.trained and (phase is None or layer.name in phase):
            remembered = (entry.network.prompt(slot) for entry in state.memory)
            distinct = dict.fromkeys(prompt for prompt in remembered if prompt != current)
            candidates += [Candidate(prompt, "memory") for prompt in distinct]
            answers = network.nodes_of(slot)[0] in network.graph.answers
            known = forward if answers else await guided.get()
            parents = [candidate.prompt for candidate in candidates]
            evidence = known.evidence(slot, batch.rest)
            proposed = await self._proposed(network, slot, parents, evidence, step)
            candidates += proposed.candidates
        inference = await guided.get()
        ranking = await self._ranker(step, slot, inference).rank(
            candidates, inference.readings(slot)
        )
        return Update(slot, tuple(candidates), proposed, ranking)

    def _ranker(self, step: int, slot: Slot, inference: Inference) -> Ranker:
        selection = self.config.selection
        exploration = decayed(selection.exploration, step, self.config.num_iterations)
        return Ranker(
            measure=self._measure(slot, inference, explores=exploration > 0),
            penalties=Penalties(
                trust_factor=selection.trust_factor,
                exploration=exploration,
                length_penalty=selection.length_penalty,
            ),
            racing=self.config.racing,
            calibrates=self.calibrates,
            estimates_evidence=selection.evidence,
        )

    def _measure(self, slot: Slot, inference: Inference, *, explores: bool) -> Measure:
        network = inference.network
        if not self.has_logprobs:
            return MonteCarloMeasure(
                rollouts=self._rollouts, network=network, slot=slot, observed=inference.observed
            )
        return LogprobMeasure(
            scorer=self._scorer,
            network=network,
            contrastive=self.config.selection.contrastive,
            explores=explores,
        )

    def _is_validated(self, step: int) -> bool:
        if step == self.config.num_iterations:
            return True
        every = self.config.validate_every
        return every > 0 and step % every == 0

    def _remember(self, state: TrainerState, current: Remembered) -> TrainerState:
        """Enter a validated network into the memory; go back to the best one after a drought."""
        known = [entry for entry in state.memory if entry.network != current.network]
        # The sort is stable: of equal networks the older one comes first.
        ordered = sorted([*known, current], key=lambda entry: -entry.dev_accuracy)
        memory = tuple(ordered[: self.config.selection.memory])
        if current.dev_accuracy > state.best.dev_accuracy:
            return replace(
                state,
                memory=memory,
                best=current,
                best_step=state.step,
                num_stale=0,
                num_since_reload=0,
            )
        tolerance = self.config.selection.tolerance
        network, num_since_reload = state.network, state.num_since_reload + 1
        if 0 <= tolerance < num_since_reload:
            network, num_since_reload = state.best.network, 0
        return replace(
            state,
            memory=memory,
            network=network,
            num_stale=state.num_stale + 1,
            num_since_reload=num_since_reload,
        )
