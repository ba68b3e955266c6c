"""From what the models of a trial are asked for to an estimate with money and a range."""

from __future__ import annotations

from dln_core.config import LLMConfig, TrialSettings
from orchestrator.planning.amounts import Amounts, Estimate, known_sum
from orchestrator.planning.call_costs import Cost

# What the models of the layers, of the proposals and of the judge are asked for.
Spent = tuple[Cost, Cost, Cost]

# At the lower end half of what is asked for is found in stores: first of all, repeated dev answers.
_LEAST_PAID = 0.5


def ranged(
    settings: TrialSettings, expected: Spent, low: Spent, high: Spent, num_past: int = 0
) -> Estimate:
    """Make an estimate.

    Args:
        settings: Its models have prices.
        expected: What is expected; all of it is taken to be paid.
        low: The least that is likely; half of it is taken to be paid.
        high: The most.
        num_past: Past trials that the figures rest on.
    """
    forward, backward, judging = expected
    money = _priced(settings, low)
    return Estimate(
        forward=forward,
        backward=backward,
        judging=judging,
        cost_usd=_priced(settings, expected),
        low=Amounts(cost=_sum(low), cost_usd=None if money is None else money * _LEAST_PAID),
        high=Amounts(cost=_sum(high), cost_usd=_priced(settings, high)),
        num_past=num_past,
    )


def scaled(spent: Spent, *, calls: float = 1.0, tokens: float = 1.0) -> Spent:
    """Multiply the calls and the tokens of each model."""
    forward, backward, judging = (
        Cost(one.calls * calls, one.prompt_tokens * tokens, one.completion_tokens * tokens)
        for one in spent
    )
    return forward, backward, judging


def _sum(spent: Spent) -> Cost:
    forward, backward, judging = spent
    return forward + backward + judging


def _priced(settings: TrialSettings, spent: Spent) -> float | None:
    models = (settings.llm, settings.backward_llm, settings.judge_llm)
    return known_sum(
        _price(cost, llm or settings.llm) for cost, llm in zip(spent, models, strict=True)
    )


def _price(cost: Cost, llm: LLMConfig) -> float | None:
    if cost.tokens == 0:
        return 0.0
    return llm.known_price.cost_usd(cost.prompt_tokens, cost.completion_tokens)
