"""What a plan will cost, before any call: calls, tokens, money and, where it is known, time.

With L layers, B ranked examples a step, E examples more that proposals see, N proposals, K hidden
samples, M remembered prompts, R = 1 + M + N candidates (1 for a layer that is not trained), I
steps, V validations of them, and dev and test sizes D and T, a trial makes

* dev and test: ``L * D * (1 + V)`` and ``L * T`` calls;
* forward: ``L * (B + E)`` calls a step;
* posterior: for each hidden layer ``(B + E) * K`` samples and ``(B + E) * (K + 1)`` scorings (the
  likelihood of each sample, the prior of all; one more where the guide's density is used);
* proposal: ``N * (1 - demonstration_share)`` generations for each trained layer;
* score: ``R * B`` scorings for the first layer, ``R * B * K`` for each that reads hidden texts.

A labelled answer is one scoring, which covers all labels of its example; so does the scoring of K
hidden texts.  The reference points of a task take three passes over the test items.

Texts are counted at four characters a token.  A hidden text is half as long as it may be.
Endpoints that score text by text bill a prompt once a text.  Answers found in a store cost
nothing, duplicates are merged and training examples that a prompt shows rank nothing: half of the
figure is a fair lower bound, one and a half times an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.config import LLMConfig, TrainerConfig, TrialSettings
from dln_core.tasks import Task
from orchestrator.schema import RunConfig

LOW, HIGH = 0.5, 1.5
_CHARS_PER_TOKEN = 4.0
# Turn markers, field names and the fixed words of a template.
_TEMPLATE_TOKENS = 40.0
# Cases in a request for a better instruction, right and wrong ones.
_NUM_SHOWN_CASES = 6
_NUM_BASELINE_SHOTS = 8
# The local model on one core: measured with the default weights.
_LOCAL_PROMPT_TOKENS_PER_S = 290.0
_LOCAL_COMPLETION_TOKENS_PER_S = 140.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost of a trial or of a whole plan.

    Attributes:
        forward: What the model of the layers is asked for.
        backward: What the model that samples hidden texts and proposes prompts is asked for.
        cost_usd: Money; None where a price is not known.
        seconds: Time; None where nothing is known of the endpoint's speed.
    """

    forward: Cost = Cost()
    backward: Cost = Cost()
    cost_usd: float | None = 0.0
    seconds: float | None = None

    @property
    def total(self) -> Cost:
        """Both models together."""
        return self.forward + self.backward

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain JSON values, with its range under ``low`` and ``high``."""
        low, high = self._scaled(LOW), self._scaled(HIGH)
        return {**self._scaled(1.0), "low": low, "high": high}

    def _scaled(self, factor: float) -> dict[str, float | None]:
        total = self.total.times(factor)
        return {
            "calls": round(total.calls),
            "tokens": round(total.tokens),
            "prompt_tokens": round(total.prompt_tokens),
            "completion_tokens": round(total.completion_tokens),
            "cost_usd": None if self.cost_usd is None else round(self.cost_usd * factor, 4),
            "seconds": None if self.seconds is None else round(self.seconds * factor),
        }


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
    )


def estimate_trial(settings: TrialSettings, size: TaskSize) -> Estimate:
    """Estimate one trial by the formula at the head of this module."""
    one_pass = _sum(_layer_call(settings, size, i) for i in range(_num_layers(settings)))
    forward = one_pass.times(size.num_test + size.num_dev)
    backward = Cost()
    if settings.network.is_trained:
        trainer = settings.trainer
        batch = max(1, min(trainer.batch_size, size.num_train - 1))
        seen = batch + max(0, min(trainer.proposal.num_cases, size.num_train - batch))
        step = one_pass.times(seen) + _posterior_scorings(settings, size).times(seen)
        step += _candidate_scorings(settings, size).times(batch)
        forward += step.times(trainer.num_iterations)
        forward += one_pass.times(size.num_dev * _num_validations(trainer))
        backward = _samples(settings, size).times(seen) + _proposals(settings, size)
        backward = backward.times(trainer.num_iterations)
    return _priced(settings, forward, backward)


def estimate_baselines(settings: TrialSettings, size: TaskSize) -> Estimate:
    """Estimate the reference points that a task gets once beside its trials."""
    prompt = _TEMPLATE_TOKENS + size.instruction_tokens + size.input_tokens
    shots = _NUM_BASELINE_SHOTS * (size.input_tokens + size.target_tokens)
    num_plain = (2 if size.label_tokens else 1) * size.num_test
    cost = _answer_call(size, prompt).times(num_plain)
    return _priced(settings, cost + _answer_call(size, prompt + shots).times(size.num_test), Cost())


def sum_estimates(parts: Sequence[Estimate], run: RunConfig) -> Estimate:
    """Add estimates up; one unknown price makes the money unknown.

    Args:
        parts: Estimates of trials and reference points.
        run: Its limits and model tell what is known of the time.
    """
    forward = _sum(part.forward for part in parts)
    backward = _sum(part.backward for part in parts)
    prices = [part.cost_usd for part in parts]
    known = [price for price in prices if price is not None]
    return Estimate(
        forward=forward,
        backward=backward,
        cost_usd=sum(known) if len(known) == len(prices) else None,
        seconds=_seconds(forward + backward, run),
    )


def _layer_call(settings: TrialSettings, size: TaskSize, index: int) -> Cost:
    """One run of one layer on one example."""
    layer = settings.network.layers[index]
    if layer.instruction is None:
        prompt = _TEMPLATE_TOKENS + size.instruction_tokens
    else:
        prompt = _TEMPLATE_TOKENS + len(layer.instruction) / _CHARS_PER_TOKEN
    if index == 0 or layer.residual:
        prompt += size.input_tokens
    if index > 0:
        prompt += _hidden_tokens(settings, index - 1)
    if index < _num_layers(settings) - 1:
        return Cost(1.0, prompt, _hidden_tokens(settings, index))
    prompt += settings.network.num_shots * (size.input_tokens + size.target_tokens)
    return _answer_call(size, prompt)


def _answer_call(size: TaskSize, prompt_tokens: float) -> Cost:
    """One answer: the labels are scored where there are any, else it is written."""
    if size.label_tokens:
        return Cost(1.0, prompt_tokens + size.label_tokens, 0.0)
    return Cost(1.0, prompt_tokens, size.target_tokens + 1)


def _scoring(settings: TrialSettings, size: TaskSize, index: int) -> Cost:
    """One scoring of what a layer should write: the answer, or all hidden samples."""
    call = _layer_call(settings, size, index)
    if index == _num_layers(settings) - 1:
        return Cost(1.0, call.prompt_tokens + call.completion_tokens, 0.0)
    texts = settings.trainer.num_hidden * _hidden_tokens(settings, index)
    return Cost(1.0, call.prompt_tokens + texts, 0.0)


def _posterior_scorings(settings: TrialSettings, size: TaskSize) -> Cost:
    """What weighs the hidden samples of one example."""
    posterior, num_hidden = settings.trainer.posterior, settings.trainer.num_hidden
    densities = 1 if posterior.use_prior or posterior.use_guide_density else 0
    densities += 1 if posterior.use_guide_density else 0
    return _sum(
        _scoring(settings, size, index).times(densities)
        + _scoring(settings, size, index + 1).times(num_hidden)
        for index in range(_num_layers(settings) - 1)
    )


def _candidate_scorings(settings: TrialSettings, size: TaskSize) -> Cost:
    """What ranks the candidates of all layers on one example."""
    trainer, total = settings.trainer, Cost()
    for index, layer in enumerate(settings.network.layers):
        candidates = 1 + trainer.selection.memory + trainer.num_prompts if layer.trained else 1
        shown = Cost(0.0, _mean_demonstration_tokens(settings, size), 0.0)
        scored = _scoring(settings, size, index) + shown
        total += scored.times(candidates * (trainer.num_hidden if index else 1))
    return total


def _samples(settings: TrialSettings, size: TaskSize) -> Cost:
    """The hidden samples of one example, written in view of the answer."""
    told = Cost(0.0, size.target_tokens, 0.0)
    return _sum(
        (_layer_call(settings, size, index) + told).times(settings.trainer.num_hidden)
        for index in range(_num_layers(settings) - 1)
    )


def _proposals(settings: TrialSettings, size: TaskSize) -> Cost:
    """The instructions that the backward model writes in one step."""
    trainer, proposal = settings.trainer, settings.trainer.proposal
    cases = _NUM_SHOWN_CASES * (size.input_tokens + 2 * size.target_tokens)
    length = min(proposal.max_tokens, proposal.max_instruction_chars / _CHARS_PER_TOKEN) / 2
    written = Cost(1.0, _TEMPLATE_TOKENS + size.instruction_tokens + cases, length)
    num_trained = sum(layer.trained for layer in settings.network.layers)
    num_written = trainer.num_prompts - round(trainer.num_prompts * proposal.demonstration_share)
    return written.times(num_trained * num_written)


def _num_validations(trainer: TrainerConfig) -> int:
    every = trainer.validate_every
    return math.ceil(trainer.num_iterations / every) if every else 1


def _hidden_tokens(settings: TrialSettings, index: int) -> float:
    return settings.network.layers[index].max_tokens / 2


def _mean_demonstration_tokens(settings: TrialSettings, size: TaskSize) -> float:
    proposal = settings.trainer.proposal
    number = (proposal.min_demonstrations + proposal.max_demonstrations) / 2
    return proposal.demonstration_share * number * (size.input_tokens + size.target_tokens)


def _priced(settings: TrialSettings, forward: Cost, backward: Cost) -> Estimate:
    backward_llm = settings.backward_llm or settings.llm
    prices = [_price(forward, settings.llm), _price(backward, backward_llm)]
    known = [price for price in prices if price is not None]
    return Estimate(
        forward=forward,
        backward=backward,
        cost_usd=sum(known) if len(known) == len(prices) else None,
    )


def _price(cost: Cost, llm: LLMConfig) -> float | None:
    per_prompt = llm.price.prompt_usd_per_million
    per_completion = llm.price.completion_usd_per_million
    if cost.tokens == 0:
        return 0.0
    if per_prompt is None or per_completion is None:
        return None
    return (cost.prompt_tokens * per_prompt + cost.completion_tokens * per_completion) / 1e6


def _seconds(total: Cost, run: RunConfig) -> float | None:
    """Time by the endpoint's limits, or by the measured speed of the local model."""
    if run.llm.provider == "local":
        return (
            total.prompt_tokens / _LOCAL_PROMPT_TOKENS_PER_S
            + total.completion_tokens / _LOCAL_COMPLETION_TOKENS_PER_S
        )
    limits = run.limits
    bounds = [
        60.0 * amount / allowed
        for amount, allowed in (
            (total.calls, limits.requests_per_minute),
            (total.tokens, limits.tokens_per_minute),
        )
        if allowed is not None
    ]
    return max(bounds, default=None)


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


def _num_layers(settings: TrialSettings) -> int:
    return len(settings.network.layers)


def _mean_tokens(texts: Sequence[str]) -> float:
    return sum(map(len, texts)) / max(1, len(texts)) / _CHARS_PER_TOKEN
