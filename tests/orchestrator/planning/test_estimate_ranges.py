"""The ranges of a plan: what trials take lies within them, whatever the network and the rung."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import dln_core
from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LimitsConfig,
    LLMConfig,
    NetworkConfig,
    PriceConfig,
    ScoringConfig,
    TaskConfig,
)
from dln_core.trial import Services
from orchestrator.planning.estimate import compare, estimate_trial
from orchestrator.planning.plan import Plan, PlannedTrial, make_plan
from orchestrator.planning.plan_table import print_plan
from orchestrator.settings.schema import RunConfig
from orchestrator.summary import USAGE_FIELDS, TrialSummary
from tests.orchestrator.planning.estimate_toys import (
    DLN1,
    DLN2,
    SIMULATED,
    SIZE,
    TASK,
    TRAINER,
    settings,
)

PRICED = replace(
    SIMULATED, price=PriceConfig(prompt_usd_per_million=100.0, completion_usd_per_million=400.0)
)
ZERO_SHOT = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])


def planned(**changes: object) -> tuple[Plan, PlannedTrial]:
    run = RunConfig(
        trainer=TRAINER, data=DataConfig(max_dev=10, max_test=20), llm=PRICED, **changes
    )
    plan = make_plan([run])
    return plan, plan.trials[0]


async def taken(trial: PlannedTrial, folder: Path) -> TrialSummary:
    """Carry the trial out, and add up what it takes."""
    summary = TrialSummary(status="finished")
    services = Services(cache=CacheConfig(mode="off", dir=str(folder)))
    counts: Counter[str] = Counter()

    def record(event: dict[str, object]) -> None:
        for usage in event["usage"].values():
            counts.update(usage)
        summary.seconds += event["seconds"]
        summary.cost_usd += event["cost_usd"]

    await dln_core.train(trial.settings, services=services, on_event=record)
    summary.usage = {column: counts[name] for name, column in USAGE_FIELDS.items()}
    return summary


@pytest.mark.parametrize("rung", ["auto", "monte_carlo"])
@pytest.mark.parametrize("task", ["triage", "routing"])
@pytest.mark.parametrize("network", [ZERO_SHOT, DLN1, DLN2], ids=lambda network: network.name)
async def test_what_a_trial_takes_lies_in_the_range_of_its_plan(
    network: NetworkConfig, task: str, rung: str, tmp_path: Path
) -> None:
    plan, trial = planned(
        network=network, task=TaskConfig(name=task), scoring=ScoringConfig(rung=rung)
    )
    summary = await taken(trial, tmp_path)
    rows = {row["figure"]: row for row in compare(plan, {trial.trial_id: summary})}
    for figure in ("calls", "tokens", "cost_usd"):
        row = rows[figure]
        assert row["low"] <= row["actual"] <= row["high"], row
    assert rows["calls"]["low"] <= rows["calls"]["expected"] <= rows["calls"]["high"]
    assert rows["seconds"]["expected"] is None
    assert rows["seconds"]["actual"] > 0


def test_trials_that_were_stopped_or_are_not_there_are_not_compared() -> None:
    plan, trial = planned(network=DLN1)
    assert compare(plan, {}) == []
    for summary in (
        TrialSummary(status="unfinished"),
        TrialSummary(status="finished", stopped="budget"),
    ):
        assert compare(plan, {trial.trial_id: summary}) == []


def test_patience_may_end_training_early_and_lowers_the_lower_end_alone() -> None:
    patient = replace(TRAINER, num_iterations=40, patience=2)
    early, late = (
        estimate_trial(settings(DLN1, trainer=replace(patient, patience=count)), TASK, SIZE)
        for count in (2, None)
    )
    assert early.low.cost.calls < late.low.cost.calls / 2
    assert (early.total, early.high) == (late.total, late.high)


def test_where_a_probe_has_yet_to_tell_the_upper_end_is_that_of_samples() -> None:
    hosted = LLMConfig(provider="openai_compatible", model="m", base_url="http://host:1/v1")
    open_, scored, sampled = (
        estimate_trial(settings(DLN2, llm=hosted, scoring=ScoringConfig(rung=rung)), TASK, SIZE)
        for rung in ("auto", "score", "monte_carlo")
    )
    assert open_.high == sampled.high
    assert open_.low == scored.low


def test_the_time_of_a_local_model_is_an_assumption_within_a_factor() -> None:
    local = LLMConfig(provider="local", model="qwen2.5-coder-0.5b")
    plan = make_plan([RunConfig(trainer=TRAINER, llm=local)])
    estimate = plan.estimate
    assert estimate.time_basis == "local"
    assert 0 < estimate.low.seconds < estimate.seconds / 2
    assert estimate.high.seconds > estimate.seconds * 2


def test_the_table_shows_ranges_and_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    run = RunConfig(trainer=TRAINER, llm=SIMULATED, limits=LimitsConfig(requests_per_minute=600))
    plan = make_plan([run])
    print_plan(plan)
    printed = capsys.readouterr().out
    low, high = plan.estimate.low, plan.estimate.high
    assert f"{low.cost.calls:,.0f}\N{EN DASH}{plan.estimate.total.calls:,.0f}" in printed
    assert "formula" in printed
    assert "the least that the limits allow" in printed
    assert high.seconds == pytest.approx(high.cost.calls / 10)


def test_a_sum_of_ranges_is_the_range_of_the_sum() -> None:
    plan, trial = planned(network=DLN2)
    points = plan.estimate.total.calls - trial.estimate.total.calls
    assert plan.estimate.low.cost.calls == pytest.approx(trial.estimate.low.cost.calls + points)
