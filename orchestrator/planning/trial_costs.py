"""What the parts of a trial cost; ``planning.estimate`` has the formula and adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from dln_core.config import TrainerConfig
from dln_core.graph import Slot
from dln_core.inference import MAX_CONFIGURATIONS
from dln_core.network import Network
from dln_core.proposals.writing import MAX_RULES
from dln_core.templates import load_template
from dln_core.vi.racing import rounds
from dln_core.vi.selection import allocate
from orchestrator.planning.call_costs import Cost, TaskSize, add_up, answer_call
from orchestrator.planning.text_lengths import TextLengths

# Cases in a request for a better instruction, right and wrong ones.
_NUM_SHOWN_CASES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is not known before the first call, each a share from 0 to 1.

    Attributes:
        written: Of the length that hidden texts and proposals may have.
        learned: Of what prompts may grow by, in words and worked examples.
        kept: Of the proposals and remembered prompts, that are ranked; the others equal one that
            is, or are refused.
        distinct: Of the hidden samples of an example, that differ.
        raced: Of the candidates of a race, that are left after its first round.
        shown: Of the cases in a request for a better instruction, three right and three wrong ones.
    """

    written: float
    learned: float
    kept: float
    distinct: float
    raced: float
    shown: float


LOW = Assumptions(written=0.1, learned=0.0, kept=0.0, distinct=0.4, raced=0.0, shown=0.5)
LIKELY = Assumptions(written=0.4, learned=0.25, kept=1.0, distinct=1.0, raced=0.5, shown=1.0)
HIGH = Assumptions(written=0.8, learned=0.75, kept=1.0, distinct=1.0, raced=1.0, shown=1.0)


@dataclass(frozen=True, kw_only=True)
class TrialCosts:
    """The parts of one trial, an example or a step at a time.

    Attributes:
        network: The initial network.
        trainer: The training loop's settings.
        size: The task; without label tokens where answers are written.
        num_rollouts: M, samples that stand in for log-probs; 0 where there are log-probs.
        assumed: What is taken for granted.
    """

    network: Network
    trainer: TrainerConfig
    size: TaskSize
    num_rollouts: int = 0
    assumed: Assumptions = LIKELY

    @cached_property
    def batch_size(self) -> int:
        """B, ranked examples a step."""
        return max(1, min(self.trainer.batch_size, self.size.num_train - 1))

    @property
    def num_seen(self) -> int:
        """B + E, examples that a step runs the network on."""
        rest = max(0, self.size.num_train - self.batch_size)
        return self.batch_size + min(self.trainer.proposal.num_cases, rest)

    def first_pass(self) -> Cost:
        """One run of the initial network on one example."""
        grown = sum(self._grown(node) for node in (*self._hidden, *self._answers))
        return self.one_pass() + Cost(0.0, -grown, 0.0)

    def one_pass(self) -> Cost:
        """One run of a network in training on one example."""
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
        total = Cost()
        length = self._longest_instruction * self.assumed.written
        for slot in self.network.slots:
            node = self.network.nodes_of(slot)[0]
            shown = min(_NUM_SHOWN_CASES * self.assumed.shown, self.num_seen - self.batch_size)
            cases = shown * (self._lengths.body(node) + 2 * self._lengths.output(node))
            instruction = self.size.num_tokens(self.network.prompt(slot).instruction)
            template = self.size.num_tokens(load_template("rewrite").turn)
            written = Cost(1.0, template + instruction + cases, length)
            number = self._num_drafts(node in self._answers)
            total += written.times(number * self._trained_share(slot.layer))
        return total

    def ranking(self) -> Cost:
        """What ranks the candidates of all prompts on one example, averaged over the steps."""
        total, trainer = Cost(), self.trainer
        rivals = (trainer.selection.memory + trainer.num_prompts) * self.assumed.kept
        for slot in self.network.slots:
            shares = self._trained_share(slot.layer) * self._raced_share
            total += self._measurement(slot).times(1 + rivals * shares)
        return total

    @cached_property
    def _lengths(self) -> TextLengths:
        return TextLengths(self.network, self.size, self.assumed.written)

    @property
    def _hidden(self) -> tuple[int, ...]:
        return self.network.graph.hidden

    @property
    def _answers(self) -> tuple[int, ...]:
        return self.network.graph.answers

    def _written(self, node: int) -> Cost:
        """One run of one node."""
        prompt = self._prompt(node)
        if node not in self._answers:
            return Cost(1.0, prompt, self._lengths.output(node))
        call = answer_call(self.size, prompt)
        has_vote = self.network.layers[-1].join == "vote" and not self.size.label_tokens
        return call + self._scored(node) if has_vote else call

    def _scored(self, node: int, num_texts: float = 1.0) -> Cost:
        """One scoring of what a node should write; an answer's covers all its labels."""
        texts = num_texts * self._lengths.output(node)
        if node in self._answers:
            texts = self.size.label_tokens or self.size.target_tokens
        return Cost(1.0, self._prompt(node) + texts, 0.0)

    def _prompt(self, node: int) -> float:
        return self._lengths.prompt(node) + self._grown(node)

    def _grown(self, node: int) -> float:
        """What training is taken to add to the prompt of a node."""
        layer = self.network.writer_layer(self.network.graph.nodes[node].layer)
        if not layer.trained:
            return 0.0
        proposal = self.trainer.proposal
        instruction = self.size.num_tokens(layer.prompt.instruction)
        most = max(0.0, self._longest_instruction - instruction)
        if proposal.mix.examples > 0:
            most += proposal.max_demonstrations * self._lengths.shown(node)
        return self.assumed.learned * most

    @property
    def _longest_instruction(self) -> float:
        proposal = self.trainer.proposal
        return min(proposal.max_tokens, proposal.max_instruction_chars / self.size.chars_per_token)

    def _weighing_of(self, node: int) -> Cost:
        trainer, graph = self.trainer, self.network.graph
        num_hidden, posterior = self._num_distinct, trainer.posterior
        if self.num_rollouts:
            behind = graph.after([node]) - {node}
            return self._rollouts([n for n in self._hidden if n in behind]).times(num_hidden)
        parts = {part for part, share in trainer.guide.shares().items() if share > 0}
        densities = {"prior"} if posterior.use_prior else set()
        densities |= parts if posterior.use_guide_density else set()
        likelihood = add_up(self._scored(reader) for reader in graph.readers(node))
        likelihood = likelihood.times(2 if posterior.mutual_information > 0 else 1)
        density = self._scored(node, num_hidden).times(len(densities))
        return likelihood.times(num_hidden) + density

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
        num_texts = self._num_distinct if is_hidden else 1.0
        return add_up(self._scored(node, num_texts).times(self._num_bodies(node)) for node in nodes)

    def _rollouts(self, free: Sequence[int]) -> Cost:
        """Runs from sampled hidden texts to the answer; of labels alone one run is exact."""
        is_exact = self.size.label_tokens > 0 and not free
        run = add_up(self._written(node) for node in (*free, *self._answers))
        return run.times(1 if is_exact else self.num_rollouts)

    def _num_bodies(self, node: int) -> float:
        """J, the texts that a node may read, one a joint sample of the hidden nodes it reads."""
        power: float = self._num_distinct ** len(self._sources(node))
        return min(MAX_CONFIGURATIONS, power)

    @property
    def _num_distinct(self) -> float:
        """Hidden samples of an example that differ."""
        return max(1.0, self.trainer.num_hidden * self.assumed.distinct)

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
        """Share of the measurements that racing leaves."""
        first = self.trainer.racing.first_examples
        if first is None:
            return 1.0
        share = rounds(first, self.batch_size)[0] / self.batch_size
        return share + (1.0 - share) * self.assumed.raced

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
