"""What the parts of a trial cost; ``orchestrator.estimate`` has the formula and adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from dln_core.config import TrainerConfig
from dln_core.graph import Slot
from dln_core.inference import MAX_CONFIGURATIONS
from dln_core.network import Network
from dln_core.proposals.writing import MAX_RULES
from dln_core.vi.racing import rounds
from dln_core.vi.selection import allocate
from orchestrator.call_costs import (
    CHARS_PER_TOKEN,
    TEMPLATE_TOKENS,
    Cost,
    TaskSize,
    add_up,
    answer_call,
    num_tokens,
)
from orchestrator.text_lengths import TextLengths

# Cases in a request for a better instruction, right and wrong ones.
_NUM_SHOWN_CASES = 6


@dataclass(frozen=True, kw_only=True)
class TrialCosts:
    """The parts of one trial, an example or a step at a time.

    Attributes:
        network: The initial network.
        trainer: The training loop's settings.
        size: The task; without label tokens where answers are written.
        num_rollouts: M, samples that stand in for log-probs; 0 where there are log-probs.
    """

    network: Network
    trainer: TrainerConfig
    size: TaskSize
    num_rollouts: int = 0

    @cached_property
    def batch_size(self) -> int:
        """B, ranked examples a step."""
        return max(1, min(self.trainer.batch_size, self.size.num_train - 1))

    @property
    def num_seen(self) -> int:
        """B + E, examples that a step runs the network on."""
        rest = max(0, self.size.num_train - self.batch_size)
        return self.batch_size + min(self.trainer.proposal.num_cases, rest)

    def one_pass(self) -> Cost:
        """One run of the network on one example."""
        return add_up(self._written(node) for node in (*self._hidden, *self._answers))

    def hidden_samples(self) -> Cost:
        """What the guide writes for one example."""
        number = self.trainer.num_hidden - (1 if self.trainer.guide.include_forward else 0)
        total = Cost()
        for node in self._hidden:
            readers = self.network.graph.readers(node)
            told = Cost(0.0, sum(self._lengths.output(reader) for reader in readers), 0.0)
            total += (self._written(node) + told).times(number)
        return total

    def weighing(self) -> Cost:
        """What weighs the hidden samples of one example."""
        return add_up(self._weighing_of(node) for node in self._hidden)

    def proposals(self) -> Cost:
        """What the backward model writes in one step, averaged over the steps."""
        proposal, total = self.trainer.proposal, Cost()
        length = min(proposal.max_tokens, proposal.max_instruction_chars / CHARS_PER_TOKEN) / 2
        for slot in self.network.slots:
            node = self.network.nodes_of(slot)[0]
            cases = _NUM_SHOWN_CASES * (self._lengths.body(node) + 2 * self._lengths.output(node))
            instruction = num_tokens(self.network.prompt(slot).instruction)
            written = Cost(1.0, TEMPLATE_TOKENS + instruction + cases, length)
            number = self._num_drafts(node in self._answers)
            total += written.times(number * self._trained_share(slot.layer))
        return total

    def ranking(self) -> Cost:
        """What ranks the candidates of all prompts on one example, averaged over the steps."""
        total, trainer = Cost(), self.trainer
        rivals = (trainer.selection.memory + trainer.num_prompts) * self._raced_share
        for slot in self.network.slots:
            one = self._measurement(slot)
            shown = self._demonstration_tokens(self.network.nodes_of(slot)[0])
            rival = one + Cost(0.0, one.calls * shown, 0.0)
            total += one + rival.times(rivals * self._trained_share(slot.layer))
        return total

    @cached_property
    def _lengths(self) -> TextLengths:
        return TextLengths(self.network, self.size)

    @property
    def _hidden(self) -> tuple[int, ...]:
        return self.network.graph.hidden

    @property
    def _answers(self) -> tuple[int, ...]:
        return self.network.graph.answers

    def _written(self, node: int) -> Cost:
        """One run of one node."""
        prompt = self._lengths.prompt(node)
        if node not in self._answers:
            return Cost(1.0, prompt, self._lengths.output(node))
        call = answer_call(self.size, prompt)
        has_vote = self.network.layers[-1].join == "vote" and not self.size.label_tokens
        return call + self._scored(node) if has_vote else call

    def _scored(self, node: int, num_texts: int = 1) -> Cost:
        """One scoring of what a node should write; an answer's covers all its labels."""
        texts = num_texts * self._lengths.output(node)
        if node in self._answers:
            texts = self.size.label_tokens or self.size.target_tokens
        return Cost(1.0, self._lengths.prompt(node) + texts, 0.0)

    def _weighing_of(self, node: int) -> Cost:
        trainer, graph = self.trainer, self.network.graph
        num_hidden, posterior = trainer.num_hidden, trainer.posterior
        if self.num_rollouts:
            behind = graph.after([node]) - {node}
            return self._rollouts([n for n in self._hidden if n in behind]).times(num_hidden)
        parts = {part for part, share in trainer.guide.shares().items() if share > 0}
        densities = {"prior"} if posterior.use_prior else set()
        densities |= parts if posterior.use_guide_density else set()
        likelihood = add_up(self._scored(reader) for reader in graph.readers(node))
        likelihood = likelihood.times(2 if posterior.mutual_information > 0 else 1)
        return likelihood.times(num_hidden) + self._scored(node, num_hidden).times(len(densities))

    def _measurement(self, slot: Slot) -> Cost:
        """One candidate on one example."""
        nodes = self.network.nodes_of(slot)
        is_hidden = nodes[0] not in self._answers
        if self.num_rollouts and is_hidden:
            after = self.network.graph.after(nodes)
            return self._rollouts([node for node in self._hidden if node in after])
        if self.num_rollouts:
            repeats = 1 if self.size.label_tokens else self.num_rollouts
            return add_up(
                self._written(node).times(self._num_bodies(node)) for node in nodes
            ).times(repeats)
        num_texts = self.trainer.num_hidden if is_hidden else 1
        return add_up(self._scored(node, num_texts).times(self._num_bodies(node)) for node in nodes)

    def _rollouts(self, free: Sequence[int]) -> Cost:
        """Runs from sampled hidden texts to the answer; of labels alone one run is exact."""
        is_exact = self.size.label_tokens > 0 and not free
        run = add_up(self._written(node) for node in (*free, *self._answers))
        return run.times(1 if is_exact else self.num_rollouts)

    def _num_bodies(self, node: int) -> int:
        """J, the texts that a node may read, one a joint sample of the hidden nodes it reads."""
        power: int = self.trainer.num_hidden ** len(self._sources(node))
        return min(MAX_CONFIGURATIONS, power)

    def _sources(self, node: int) -> set[int]:
        """The hidden nodes that a node reads, also through tools and joins."""
        graph, found = self.network.graph, set[int]()
        for parent in graph.nodes[node].parents:
            found |= {parent} if graph.is_written(parent) else self._sources(parent)
        return found

    def _trained_share(self, layer: int) -> float:
        """Share of the steps in which a layer is trained."""
        if not self.network.layers[layer].trained:
            return 0.0
        name, number = self.network.layers[layer].name, self.trainer.num_iterations
        phases = [self.trainer.phase(step) for step in range(1, number + 1)]
        return sum(phase is None or name in phase for phase in phases) / number

    @property
    def _raced_share(self) -> float:
        """Share of the measurements that racing leaves, if it drops half in the first round."""
        first = self.trainer.racing.first_examples
        if first is None:
            return 1.0
        return (1.0 + rounds(first, self.batch_size)[0] / self.batch_size) / 2

    def _num_drafts(self, is_answer: bool) -> int:
        """Texts that are written for the candidates of one prompt and step."""
        num_rules = min(MAX_RULES, self.size.num_labels) if is_answer else 0
        drafts = {"rewrite": 1, "induce": 1, "rules": num_rules, "recombine": 1, "examples": 0}
        shares = {
            kind: share
            for kind, share in asdict(self.trainer.proposal.mix).items()
            if share > 0 and (kind != "rules" or num_rules > 0)
        }
        shares = shares or {"rewrite": 1.0}
        numbers = allocate(self.trainer.num_prompts, list(shares.values()))
        return sum(number * drafts[kind] for kind, number in zip(shares, numbers, strict=True))

    def _demonstration_tokens(self, node: int) -> float:
        """Worked examples that a candidate has on average."""
        proposal = self.trainer.proposal
        shares: dict[str, float] = asdict(proposal.mix)
        share = shares["examples"] / sum(shares.values())
        number = (proposal.min_demonstrations + proposal.max_demonstrations) / 2
        return share * number * (self._lengths.body(node) + self._lengths.output(node))
