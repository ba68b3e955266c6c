"""What the calls of a trial cost, example by example; ``orchestrator.estimate`` adds them up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dln_core.config import TrialSettings
from dln_core.tasks import Task

_CHARS_PER_TOKEN = 4.0
# Turn markers, field names and the fixed words of a template.
TEMPLATE_TOKENS = 40.0
# Cases in a request for a better instruction, right and wrong ones.
_NUM_SHOWN_CASES = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls and tokens that are expected."""

    calls: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def times(self, factor: float) -> Cost:
        """Return this cost as often as ``factor`` says."""
        return Cost(
            self.calls * factor, self.prompt_tokens * factor, self.completion_tokens * factor
        )

    @property
    def tokens(self) -> float:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSize:
    """How large a task is: examples, and mean lengths in tokens.

    ``label_tokens`` is the length of all labels of an example together, 0 for free-text answers.
    """

    num_train: int
    num_dev: int
    num_test: int
    input_tokens: float
    target_tokens: float
    label_tokens: float
    instruction_tokens: float
    max_answer_tokens: int


def measure(task: Task) -> TaskSize:
    """Measure a task's examples; its texts are counted at four characters a token."""
    splits = task.splits
    examples = (*splits.train, *splits.dev, *splits.test)
    return TaskSize(
        num_train=len(splits.train),
        num_dev=len(splits.dev),
        num_test=len(splits.test),
        input_tokens=_mean_tokens([example.input for example in examples]),
        target_tokens=_mean_tokens([example.target for example in examples]),
        label_tokens=_mean_tokens(["".join(example.labels) for example in examples]),
        instruction_tokens=len(task.instruction) / _CHARS_PER_TOKEN,
        max_answer_tokens=task.max_answer_tokens,
    )


def one_pass(settings: TrialSettings, size: TaskSize) -> Cost:
    """One run of all layers on one example."""
    return add_up(_layer_call(settings, size, i) for i in range(_num_layers(settings)))


def _layer_call(settings: TrialSettings, size: TaskSize, index: int) -> Cost:
    """One run of one layer on one example."""
    layer = settings.network.layers[index]
    if layer.instruction is None:
        prompt = TEMPLATE_TOKENS + size.instruction_tokens
    else:
        prompt = TEMPLATE_TOKENS + len(layer.instruction) / _CHARS_PER_TOKEN
    if index == 0 or layer.residual:
        prompt += size.input_tokens
    if index > 0:
        prompt += _hidden_tokens(settings, size, index - 1)
    if index < _num_layers(settings) - 1:
        return Cost(1.0, prompt, _hidden_tokens(settings, size, index))
    prompt += settings.network.num_shots * (size.input_tokens + size.target_tokens)
    return answer_call(size, prompt)


def answer_call(size: TaskSize, prompt_tokens: float) -> Cost:
    """One answer: the labels are scored where there are any, else it is written."""
    if size.label_tokens:
        return Cost(1.0, prompt_tokens + size.label_tokens, 0.0)
    return Cost(1.0, prompt_tokens, size.target_tokens + 1)


def _scoring(settings: TrialSettings, size: TaskSize, index: int) -> Cost:
    """One scoring of what a layer should write: the answer, or all hidden samples."""
    call = _layer_call(settings, size, index)
    if index == _num_layers(settings) - 1:
        return Cost(1.0, call.prompt_tokens + call.completion_tokens, 0.0)
    texts = settings.trainer.num_hidden * _hidden_tokens(settings, size, index)
    return Cost(1.0, call.prompt_tokens + texts, 0.0)


def posterior_scorings(settings: TrialSettings, size: TaskSize) -> Cost:
    """What weighs the hidden samples of one example."""
    posterior, num_hidden = settings.trainer.posterior, settings.trainer.num_hidden
    densities = 1 if posterior.use_prior or posterior.use_guide_density else 0
    densities += 1 if posterior.use_guide_density else 0
    return add_up(
        _scoring(settings, size, index).times(densities)
        + _scoring(settings, size, index + 1).times(num_hidden)
        for index in range(_num_layers(settings) - 1)
    )


def candidate_scorings(settings: TrialSettings, size: TaskSize) -> Cost:
    """What ranks the candidates of all layers on one example."""
    trainer, total = settings.trainer, Cost()
    for index, layer in enumerate(settings.network.layers):
        candidates = 1 + trainer.selection.memory + trainer.num_prompts if layer.trained else 1
        shown = Cost(0.0, _mean_demonstration_tokens(settings, size), 0.0)
        scored = _scoring(settings, size, index) + shown
        total += scored.times(candidates * (trainer.num_hidden if index else 1))
    return total


def hidden_samples(settings: TrialSettings, size: TaskSize) -> Cost:
    """The hidden samples of one example, written in view of the answer."""
    told = Cost(0.0, size.target_tokens, 0.0)
    return add_up(
        (_layer_call(settings, size, index) + told).times(settings.trainer.num_hidden)
        for index in range(_num_layers(settings) - 1)
    )


def proposals(settings: TrialSettings, size: TaskSize) -> Cost:
    """The instructions that the backward model writes in one step."""
    trainer, proposal = settings.trainer, settings.trainer.proposal
    cases = _NUM_SHOWN_CASES * (size.input_tokens + 2 * size.target_tokens)
    length = min(proposal.max_tokens, proposal.max_instruction_chars / _CHARS_PER_TOKEN) / 2
    written = Cost(1.0, TEMPLATE_TOKENS + size.instruction_tokens + cases, length)
    num_trained = sum(layer.trained for layer in settings.network.layers)
    num_written = trainer.num_prompts - round(trainer.num_prompts * proposal.demonstration_share)
    return written.times(num_trained * num_written)


def _hidden_tokens(settings: TrialSettings, size: TaskSize, index: int) -> float:
    return (settings.network.layers[index].max_tokens or size.max_answer_tokens) / 2


def _mean_demonstration_tokens(settings: TrialSettings, size: TaskSize) -> float:
    proposal = settings.trainer.proposal
    number = (proposal.min_demonstrations + proposal.max_demonstrations) / 2
    return proposal.demonstration_share * number * (size.input_tokens + size.target_tokens)


def add_up(costs: Iterable[Cost]) -> Cost:
    """Sum costs up."""
    return sum(costs, Cost())


def _num_layers(settings: TrialSettings) -> int:
    return len(settings.network.layers)


def _mean_tokens(texts: Sequence[str]) -> float:
    return sum(map(len, texts)) / max(1, len(texts)) / _CHARS_PER_TOKEN
