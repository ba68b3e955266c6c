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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dln_core.config import LLMConfig, TrainerConfig, TrialSettings
from orchestrator.call_costs import (
    TEMPLATE_TOKENS,
    Cost,
    TaskSize,
    add_up,
    answer_call,
    candidate_scorings,
    hidden_samples,
    one_pass,
    posterior_scorings,
    proposals,
)
from orchestrator.schema import RunConfig

LOW, HIGH = 0.5, 1.5
_NUM_BASELINE_SHOTS = 8
# The local model on one core: measured with the default weights.
_LOCAL_PROMPT_TOKENS_PER_S = 290.0
_LOCAL_COMPLETION_TOKENS_PER_S = 140.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost of a trial or of a whole plan.

    Attributes:
        forward: What the model of the layers is asked for.
        backward: What the model that samples hidden texts and proposes prompts is asked for.
        cost_usd: Money; None where a price is not known.
        seconds: Time; None where nothing is known of the endpoint's speed.
    """

    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)
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


def estimate_trial(settings: TrialSettings, size: TaskSize) -> Estimate:
    """Estimate one trial by the formula at the head of this module."""
    example = one_pass(settings, size)
    forward = example.times(size.num_test + size.num_dev)
    backward = Cost()
    if settings.network.is_trained:
        trainer = settings.trainer
        batch = max(1, min(trainer.batch_size, size.num_train - 1))
        seen = batch + max(0, min(trainer.proposal.num_cases, size.num_train - batch))
        step = example.times(seen) + posterior_scorings(settings, size).times(seen)
        step += candidate_scorings(settings, size).times(batch)
        forward += step.times(trainer.num_iterations)
        forward += example.times(size.num_dev * _num_validations(trainer))
        backward = hidden_samples(settings, size).times(seen) + proposals(settings, size)
        backward = backward.times(trainer.num_iterations)
    return _priced(settings, forward, backward)


def estimate_baselines(settings: TrialSettings, size: TaskSize) -> Estimate:
    """Estimate the reference points that a task gets once beside its trials."""
    prompt = TEMPLATE_TOKENS + size.instruction_tokens + size.input_tokens
    shots = _NUM_BASELINE_SHOTS * (size.input_tokens + size.target_tokens)
    num_plain = (2 if size.label_tokens else 1) * size.num_test
    cost = answer_call(size, prompt).times(num_plain)
    return _priced(settings, cost + answer_call(size, prompt + shots).times(size.num_test), Cost())


def sum_estimates(parts: Sequence[Estimate], run: RunConfig) -> Estimate:
    """Add estimates up; one unknown price makes the money unknown.

    Args:
        parts: Estimates of trials and reference points.
        run: Its limits and model tell what is known of the time.
    """
    forward = add_up(part.forward for part in parts)
    backward = add_up(part.backward for part in parts)
    prices = [part.cost_usd for part in parts]
    known = [price for price in prices if price is not None]
    return Estimate(
        forward=forward,
        backward=backward,
        cost_usd=sum(known) if len(known) == len(prices) else None,
        seconds=_seconds(forward + backward, run),
    )


def _num_validations(trainer: TrainerConfig) -> int:
    every = trainer.validate_every
    return math.ceil(trainer.num_iterations / every) if every else 1


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
