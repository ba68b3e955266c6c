"""What the parts of a trial are expected to take: what a budget sets aside for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dln_core.config import LLMConfig, TrialSettings
from dln_core.llm.allowance import Amount
from dln_core.tasks import Task
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.call_costs import Cost, TaskSize
from orchestrator.planning.estimate import trial_costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What each part of a trial is expected to take.

    Attributes:
        validation: One evaluation on dev.
        test: The evaluation on test.
        step: A training step, with its share of the validations.
        growth: How many times as much an evaluation takes with the longest prompts that training
            may find.
    """

    validation: Amount = field(default_factory=Amount)
    test: Amount = field(default_factory=Amount)
    step: Amount = field(default_factory=Amount)
    growth: float = 1.0


def parts_of(settings: TrialSettings, task: Task, size: TaskSize, whole: Estimate) -> Parts:
    """Take the estimate of a whole trial apart.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    costs = trial_costs(settings, task, size)
    example = costs.one_pass()
    validation = _amount(example.times(size.num_dev), settings.llm)
    test = _amount(example.times(size.num_test), settings.llm)
    training = Amount(whole.total.tokens, whole.cost_usd or 0.0) - validation - test
    step = training.times(1.0 / max(1, settings.trainer.num_iterations))
    growth = 1.0 + example.calls * _longer_by(settings, size) / example.tokens
    return Parts(validation=validation, test=test, step=step, growth=growth)


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
