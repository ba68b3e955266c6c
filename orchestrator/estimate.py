"""What a plan will cost, before any call: calls, tokens, money and, where it is known, time.

One run of a network takes W calls, one for each copy of each layer that has a prompt.  With B
ranked examples a step, E more that proposals see, N proposals, K hidden samples, R remembered
prompts, V validations, C inputs for calibration (at most 64, none without it or without labels),
and dev and test sizes D and T, a trial makes

* dev and test: ``W * D * (1 + V)`` and ``W * T`` calls, ``W * C`` at first and in each step, and a
  step
* forward: ``W * (B + E)``;
* posterior: for each copy of a hidden layer and each of B + E examples K samples (K - 1 if the
  forward text is one), K scorings for each copy that reads it (twice as many with mutual
  information), and one for the prior and for each part of the guide whose density is used;
* proposal: for each trained prompt N texts; rules take one a label, at most 6, and candidates that
  only get other worked examples take none;
* score: for each prompt ``B * (1 + r * (R + N))`` measurements, B where it is not trained in the
  step; one scores every copy that uses the prompt after each of ``J = min(64, K ** h)`` texts that
  the copy may read, h being the number of hidden copies whose texts it reads.

Without racing r is 1.  A race is taken to drop half of the candidates after its first round of F
examples: ``r = (1 + F / B) / 2``.  Early stopping is ignored.

A labelled answer is one scoring, which covers all labels of its example; so does the scoring of K
hidden texts.  Free texts that vote by probability are written and scored.  With
``scoring.rung=monte_carlo`` (of ``auto`` it is not known beforehand) M runs of all that follows
stand in for the scorings of a hidden sample and of a candidate for a hidden prompt, and M answers
for the scoring of an answer.

The reference points of a task take three passes over the test items, and one over C inputs; each of
``handwritten`` one more, ``kate`` one, ``cot`` two.

With ``task.judge=llm`` there is a call for each answer to a dev or test item, a training example
of a step or a sampled answer (of which there are at most as many as calls that sample), none for
those that equal the target to the letter.

Texts are counted at four characters a token.  A hidden text is half as long as it may be.
Endpoints that score text by text bill a prompt once a text.  Answers found in a store cost
nothing, duplicates are merged and training examples that a prompt shows rank nothing: half of the
figure is a fair lower bound, one and a half times an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dln_core.baselines.networks import NUM_SHOTS, THOUGHTS_TOKENS, wording
from dln_core.building import initial_network
from dln_core.calibration import MAX_INPUTS
from dln_core.checks import effective_rung
from dln_core.config import LLMConfig, TrainerConfig, TrialSettings
from dln_core.config.baselines import DEFAULT_BASELINES
from dln_core.tasks import Task
from dln_core.tasks.judges.custom import LLM
from dln_core.templates import JUDGE, load_template
from orchestrator.call_costs import (
    TEMPLATE_TOKENS,
    Cost,
    TaskSize,
    add_up,
    answer_call,
    num_tokens,
)
from orchestrator.schema import RunConfig
from orchestrator.trial_costs import TrialCosts

LOW, HIGH = 0.5, 1.5
# The local model on one core: measured with the default weights.
_LOCAL_PROMPT_TOKENS_PER_S = 290.0
_LOCAL_COMPLETION_TOKENS_PER_S = 140.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected cost of a trial or of a whole plan.

    Attributes:
        forward: What the model of the layers is asked for.
        backward: What the model that samples hidden texts and proposes prompts is asked for.
        judging: What the model that judges is asked for, where one does.
        cost_usd: Money; None where a price is not known.
        seconds: Time; None where nothing is known of the endpoint's speed.
    """

    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)
    judging: Cost = field(default_factory=Cost)
    cost_usd: float | None = 0.0
    seconds: float | None = None

    @property
    def total(self) -> Cost:
        """All models together."""
        return self.forward + self.backward + self.judging

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


def trial_costs(settings: TrialSettings, task: Task, size: TaskSize) -> TrialCosts:
    """Lay out what the parts of a trial cost.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    rung = effective_rung(settings, task, settings.scoring.rung)
    return TrialCosts(
        network=initial_network(settings, task),
        trainer=settings.trainer,
        size=_as_scored(settings, size),
        num_rollouts=settings.scoring.num_samples if rung == "monte_carlo" else 0,
    )


def estimate_trial(settings: TrialSettings, task: Task, size: TaskSize) -> Estimate:
    """Estimate one trial by the formula at the head of this module.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    costs, trainer = trial_costs(settings, task, size), settings.trainer
    example = costs.one_pass()
    validation = example.times(size.num_dev)
    calibration = example.times(_num_calibrating(settings, size))
    forward, backward = example.times(size.num_test) + validation + calibration, Cost()
    num_judged = float(size.num_dev + size.num_test)
    if any(layer.trained for layer in costs.network.layers):
        inner = costs.weighing().times(costs.num_seen) + costs.ranking().times(costs.batch_size)
        step = example.times(costs.num_seen) + inner
        forward += (step + calibration).times(trainer.num_iterations)
        is_sampled = costs.num_rollouts > 0 and not costs.size.label_tokens
        sampled = inner.calls if is_sampled else 0.0
        num_judged += (costs.num_seen + sampled) * trainer.num_iterations
        num_judged += size.num_dev * _num_validations(trainer)
        forward += validation.times(_num_validations(trainer))
        backward = costs.hidden_samples().times(costs.num_seen) + costs.proposals()
        backward = backward.times(trainer.num_iterations)
    return _priced(settings, forward, backward, _judging(settings, size).times(num_judged))


def estimate_baselines(
    settings: TrialSettings, size: TaskSize, names: Sequence[str] = DEFAULT_BASELINES
) -> Estimate:
    """Estimate the named reference points that a task gets once beside its trials."""
    size = _as_scored(settings, size)
    prompt = TEMPLATE_TOKENS + size.instruction_tokens + size.input_tokens
    shots = min(NUM_SHOTS, size.num_train) * (size.input_tokens + size.target_tokens)
    thoughts = THOUGHTS_TOKENS / 2
    plain, shown = answer_call(size, prompt), answer_call(size, prompt + shots)
    costs = {
        "initial": plain,
        "handwritten": plain.times(len(wording().handwritten)),
        "few_shot": shown,
        "kate": shown,
        "cot": Cost(1.0, prompt, thoughts) + answer_call(size, prompt + thoughts),
    }
    total = add_up(costs[name] for name in names if name in costs).times(size.num_test)
    if size.label_tokens and "initial_calibrated" in names:
        total += plain.times(size.num_test + min(MAX_INPUTS, size.num_train))
    rows = dict.fromkeys(names, 1) | {"handwritten": len(wording().handwritten)}
    num_judged = sum(rows[name] for name in names) * size.num_test
    return _priced(settings, total, Cost(), _judging(settings, size).times(num_judged))


def _judging(settings: TrialSettings, size: TaskSize) -> Cost:
    """What one verdict takes, nothing where no model judges."""
    if settings.task.judge != LLM:
        return Cost()
    template = load_template(JUDGE)
    shown = size.input_tokens + 2 * size.target_tokens
    return Cost(1.0, num_tokens(template.opening + template.turn) + shown, 1.0)


def sum_estimates(parts: Sequence[Estimate], run: RunConfig) -> Estimate:
    """Add estimates up; one unknown price makes the money unknown.

    Args:
        parts: Estimates of trials and reference points.
        run: Its limits and model tell what is known of the time.
    """
    forward = add_up(part.forward for part in parts)
    backward = add_up(part.backward for part in parts)
    judging = add_up(part.judging for part in parts)
    prices = [part.cost_usd for part in parts]
    known = [price for price in prices if price is not None]
    return Estimate(
        forward=forward,
        backward=backward,
        judging=judging,
        cost_usd=sum(known) if len(known) == len(prices) else None,
        seconds=_seconds(forward + backward + judging, run),
    )


def _as_scored(settings: TrialSettings, size: TaskSize) -> TaskSize:
    """The size of the task for a model that gives no log-probs, if it is told to give none."""
    return replace(size, label_tokens=0.0) if settings.scoring.rung == "monte_carlo" else size


def _num_calibrating(settings: TrialSettings, size: TaskSize) -> int:
    is_calibrated = settings.calibration == "empirical" and _as_scored(settings, size).label_tokens
    return min(MAX_INPUTS, size.num_train) if is_calibrated else 0


def _num_validations(trainer: TrainerConfig) -> int:
    every = trainer.validate_every
    return math.ceil(trainer.num_iterations / every) if every else 1


def _priced(settings: TrialSettings, forward: Cost, backward: Cost, judging: Cost) -> Estimate:
    prices = [
        _price(forward, settings.llm),
        _price(backward, settings.backward_llm or settings.llm),
        _price(judging, settings.judge_llm or settings.llm),
    ]
    known = [price for price in prices if price is not None]
    return Estimate(
        forward=forward,
        backward=backward,
        judging=judging,
        cost_usd=sum(known) if len(known) == len(prices) else None,
    )


def _price(cost: Cost, llm: LLMConfig) -> float | None:
    per_prompt = llm.known_price.prompt_usd_per_million
    per_completion = llm.known_price.completion_usd_per_million
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
