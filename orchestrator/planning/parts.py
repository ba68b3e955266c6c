"""What the parts of a trial are expected to take: what a budget sets aside for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dln_core.config import LLMConfig, TrialSettings
from dln_core.llm.allowance import Amount
from dln_core.tasks import Task
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.call_costs import Cost, TaskSize
from orchestrator.planning.estimate import num_calibration_inputs, one_verdict, trial_costs
from orchestrator.planning.trial_costs import HIGH, TrialCosts

# How much more the texts of one evaluation may take than those of another.
_SPREAD = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What each part of a trial is expected to take.

    Attributes:
        validation: The first evaluation on dev, at the upper end until it is known.
        test: The evaluation on test, in the same way.
        step: A training step, with its share of the validations.
        growth: How many times as much an evaluation takes at most, with other texts and with the
            longest prompts that training may find.
        longest: One example whose texts are as long as they may be: what a call that is under way
            holds back though it may take less.
    """

    validation: Amount = field(default_factory=Amount)
    test: Amount = field(default_factory=Amount)
    step: Amount = field(default_factory=Amount)
    growth: float = 1.0
    longest: Amount = field(default_factory=Amount)


def parts_of(settings: TrialSettings, task: Task, size: TaskSize, whole: Estimate) -> Parts:
    """Take the estimate of a whole trial apart.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    likely, high = trial_costs(settings, task, size), trial_costs(settings, task, size, HIGH)
    evaluated = _evaluation(settings, likely, size.num_dev + size.num_test)
    training = Amount(whole.total.tokens, whole.cost_usd or 0.0) - evaluated
    first = high.first_pass()
    longest = replace(high, assumed=replace(HIGH, written=1.0)).one_pass()
    num_calibrating = num_calibration_inputs(settings, high.size)
    return Parts(
        validation=_evaluation(settings, high, size.num_dev, num_calibrating),
        test=_evaluation(settings, high, size.num_test),
        step=training.times(1.0 / max(1, settings.trainer.num_iterations)),
        growth=_SPREAD + first.calls * _longer_by(settings, size) / first.tokens,
        longest=_amount(longest, settings.llm),
    )


def _evaluation(
    settings: TrialSettings, costs: TrialCosts, num_items: int, num_calibrating: int = 0
) -> Amount:
    """What the initial network takes for some items, with the verdicts of a model that judges."""
    verdicts = one_verdict(settings, costs.size).times(num_items)
    judge = settings.judge_llm or settings.llm
    answers = costs.first_pass().times(num_items + num_calibrating)
    return _amount(answers, settings.llm) + _amount(verdicts, judge)


def _longer_by(settings: TrialSettings, size: TaskSize) -> float:
    """Tokens that training may add to a prompt."""
    if not settings.network.is_trained:
        return 0.0
    proposal, layers = settings.trainer.proposal, settings.network.layers
    longest = max([size.target_tokens, *(layer.max_tokens or 0.0 for layer in layers)])
    shown = proposal.max_demonstrations if proposal.mix.examples > 0 else 0
    return proposal.max_tokens + shown * (size.input_tokens + longest)


def _amount(cost: Cost, llm: LLMConfig) -> Amount:
    cost_usd = llm.known_price.cost_usd(cost.prompt_tokens, cost.completion_tokens)
    return Amount(cost.tokens, cost_usd or 0.0)
