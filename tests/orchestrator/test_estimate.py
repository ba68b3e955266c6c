"""The estimate: exact on toys, honest about what it does not know, borne out by a real trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.config import (
    CacheConfig,
    LayerConfig,
    LimitsConfig,
    LLMConfig,
    NetworkConfig,
    PriceConfig,
    ProposalConfig,
    SelectionConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.trial import Services, Trial
from orchestrator.call_costs import TaskSize
from orchestrator.estimate import HIGH, LOW, estimate_baselines, estimate_trial, sum_estimates
from orchestrator.plan import make_plan
from orchestrator.schema import RunConfig

SIZE = TaskSize(
    num_train=100,
    num_dev=10,
    num_test=20,
    input_tokens=30.0,
    target_tokens=1.0,
    label_tokens=2.0,
    instruction_tokens=10.0,
    max_answer_tokens=4,
)
TRAINER = TrainerConfig(
    num_iterations=3,
    batch_size=5,
    num_prompts=6,
    num_hidden=4,
    validate_every=2,
    selection=SelectionConfig(memory=1),
    proposal=ProposalConfig(demonstration_share=0.5, num_cases=2),
)
ONE_LAYER = NetworkConfig(layers=[LayerConfig()])
TWO_LAYERS = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=16),
        LayerConfig(residual=True),
    ],
)


def settings(network: NetworkConfig = ONE_LAYER, **changes: object) -> TrialSettings:
    llm = LLMConfig(provider="simulated", model="simulated")
    return replace(TrialSettings(network=network, trainer=TRAINER, llm=llm), **changes)


def test_one_layer_makes_the_calls_of_the_formula() -> None:
    estimate = estimate_trial(settings(), SIZE)
    validations = 1 + 2  # the first network, after step 2, after step 3
    forward = 20 + 10 * validations + 3 * (5 + 2)
    score = 3 * 5 * (1 + 1 + 6)
    assert estimate.forward.calls == forward + score
    assert estimate.backward.calls == 3 * 3


def test_two_layers_make_the_calls_of_the_formula() -> None:
    estimate = estimate_trial(settings(TWO_LAYERS), SIZE)
    forward = 2 * (20 + 10 * 3 + 3 * (5 + 2))
    posterior = 3 * (5 + 2) * (4 + 1)
    score = 3 * 5 * 8 * (1 + 4)
    assert estimate.forward.calls == forward + posterior + score
    assert estimate.backward.calls == 3 * (2 * 3 + (5 + 2) * 4)


def test_a_network_that_is_not_trained_is_looked_at_twice() -> None:
    fixed = NetworkConfig(layers=[LayerConfig(trained=False)])
    estimate = estimate_trial(settings(fixed), SIZE)
    assert estimate.forward.calls == 20 + 10
    assert estimate.backward.calls == 0


def test_free_text_answers_are_written_and_labels_are_scored() -> None:
    free = replace(SIZE, label_tokens=0.0)
    assert estimate_baselines(settings(), SIZE).total.completion_tokens == 0
    assert estimate_baselines(settings(), free).total.completion_tokens > 0


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    run = RunConfig()
    known = estimate_trial(settings(llm=_priced(1.0, 2.0)), SIZE)
    unknown = estimate_trial(settings(llm=_priced(None, None)), SIZE)
    assert known.cost_usd is not None
    assert sum_estimates([known, known], run).cost_usd == pytest.approx(2 * known.cost_usd)
    assert sum_estimates([known, unknown], run).cost_usd is None
    assert sum_estimates([known, unknown], run).to_dict()["cost_usd"] is None


def test_money_is_tokens_times_price_of_the_model_that_is_asked() -> None:
    estimate = estimate_trial(
        settings(llm=_priced(1.0, 1.0), backward_llm=_priced(100.0, 100.0)), SIZE
    )
    expected = (estimate.forward.tokens + 100 * estimate.backward.tokens) / 1e6
    assert estimate.cost_usd == pytest.approx(expected)


def test_time_follows_from_the_tightest_limit_and_is_unknown_without_one() -> None:
    llm = LLMConfig(provider="simulated", model="simulated")
    part = estimate_trial(settings(), SIZE)
    free = RunConfig(llm=llm, limits=LimitsConfig(max_concurrency=None))
    bounded = RunConfig(llm=llm, limits=LimitsConfig(requests_per_minute=60))
    assert sum_estimates([part], free).seconds is None
    assert sum_estimates([part], bounded).seconds == pytest.approx(part.total.calls)


@pytest.mark.parametrize("network", [ONE_LAYER, TWO_LAYERS], ids=["dln1", "dln2"])
async def test_a_trial_asks_for_what_its_estimate_says(
    network: NetworkConfig, tmp_path: Path
) -> None:
    run = RunConfig(
        network=network,
        trainer=TRAINER,
        llm=LLMConfig(provider="simulated", model="simulated"),
    )
    run.data.max_dev, run.data.max_test = 10, 20
    [trial] = make_plan([run]).trials
    calls = 0
    services = Services(cache=CacheConfig(mode="off", dir=str(tmp_path)), store="estimate")
    async with Trial.open(trial.settings, services) as opened:
        state, done = None, False
        while not done:
            advance = await opened.advance(state)
            state, done = advance.state, advance.done
            calls += sum(usage["calls"] for usage in advance.event["usage"].values())
    expected = trial.estimate.total.calls
    assert LOW * expected <= calls <= HIGH * expected


def _priced(prompt: float | None, completion: float | None) -> LLMConfig:
    price = PriceConfig(prompt_usd_per_million=prompt, completion_usd_per_million=completion)
    return LLMConfig(provider="simulated", model="simulated", price=price)
