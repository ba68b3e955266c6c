from __future__ import annotations

import pytest

from dln_core.config import LLMConfig
from dln_core.errors import ConfigError
from orchestrator.budget import Budget, check_prices
from orchestrator.schema import BudgetConfig
from orchestrator.summary import TrialSummary


def summary_of(*events):
    summary = TrialSummary()
    for event in events:
        summary.add(event)
    return summary


def test_without_bounds_nothing_is_exhausted(toy_event):
    budget = Budget(BudgetConfig(), [])
    budget.add(toy_event(0))
    assert not budget.is_exhausted()


@pytest.mark.parametrize("bounds", [{"max_tokens": 440}, {"max_cost_usd": 0.5}])
def test_a_bound_is_reached_by_earlier_runs_and_this_one_together(toy_event, bounds):
    budget = Budget(BudgetConfig(**bounds), [summary_of(toy_event(0))])
    assert not budget.is_exhausted()
    budget.add(toy_event(1))
    assert budget.is_exhausted()


def test_seconds_count_from_the_start_of_this_run(toy_event):
    assert Budget(BudgetConfig(max_seconds=1e-9), []).is_exhausted()
    assert not Budget(BudgetConfig(max_seconds=3600), [summary_of(toy_event(0))]).is_exhausted()


def test_money_cannot_be_bounded_where_the_price_is_unknown(toy_plan):
    run = toy_plan(budget=BudgetConfig(max_cost_usd=1.0)).run
    hosted = LLMConfig(provider="openai_compatible", model="big", base_url="http://x/v1")
    with pytest.raises(ConfigError, match=r"price of big is unknown; give llm\.price"):
        check_prices(run, [hosted])
    check_prices(run, [run.llm])
