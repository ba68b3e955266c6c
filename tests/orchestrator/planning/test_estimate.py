"""The estimate: exact on toys, and honest about what it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dln_core.config import (
    GuideConfig,
    LayerConfig,
    LimitsConfig,
    LLMConfig,
    NetworkConfig,
    PhaseConfig,
    PosteriorConfig,
    PriceConfig,
    ProposalMix,
    RacingConfig,
    ScoringConfig,
    TaskConfig,
)
from dln_core.config.baselines import DEFAULT_BASELINES
from dln_core.errors import ScoringError
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.estimate import (
    estimate_baselines,
    estimate_trial,
    sum_estimates,
    trial_costs,
)
from orchestrator.settings.schema import RunConfig
from tests.orchestrator.planning.estimate_toys import (
    DLN1,
    DLN2,
    ENSEMBLE,
    SIMULATED,
    SIZE,
    TASK,
    TRAINER,
    WIDE,
    settings,
)


def estimate_of(network: NetworkConfig = DLN1, **changes: object) -> Estimate:
    return estimate_trial(settings(network, **changes), TASK, SIZE)


def test_one_layer_makes_the_calls_of_the_formula() -> None:
    validations = 1 + 2  # the first network, after step 2, after step 3
    forward = 20 + 10 * validations + 3 * (5 + 2)
    score = 3 * 5 * (1 + 1 + 6)
    assert estimate_of().forward.calls == forward + score
    assert estimate_of().backward.calls == 3 * 3


def test_two_layers_make_the_calls_of_the_formula() -> None:
    forward = 2 * (20 + 10 * 3 + 3 * (5 + 2))
    posterior = 3 * (5 + 2) * (4 + 1)
    score = 3 * 5 * 8 * (1 + 4)
    assert estimate_of(DLN2).forward.calls == forward + posterior + score
    assert estimate_of(DLN2).backward.calls == 3 * (2 * 3 + (5 + 2) * 4)


def test_the_texts_that_a_layer_may_read_are_counted_to_64() -> None:
    def score(network: NetworkConfig, num_hidden: int) -> float:
        trainer = replace(TRAINER, num_hidden=num_hidden)
        return trial_costs(settings(network, trainer=trainer), TASK, SIZE).ranking().calls

    assert score(WIDE, 4) == 8 * (1 + 1 + 4 * 4)
    assert score(WIDE, 9) == 8 * (1 + 1 + 64)


def test_more_terms_in_the_weights_take_more_scorings() -> None:
    def weighing(guide: GuideConfig = TRAINER.guide, **posterior: object) -> float:
        trainer = replace(TRAINER, guide=guide, posterior=PosteriorConfig(**posterior))
        return trial_costs(settings(DLN2, trainer=trainer), TASK, SIZE).weighing().calls

    assert weighing(use_prior=False) == 4
    assert weighing() == 4 + 1
    assert weighing(use_guide_density=True) == 4 + 2
    assert weighing(GuideConfig(edit=0.5), use_guide_density=True) == 4 + 3
    assert weighing(mutual_information=0.5) == 2 * 4 + 1


def test_proposals_cost_what_their_kinds_write() -> None:
    def drafts(**mix: float) -> float:
        shares = {"rewrite": 0.0, "examples": 0.0} | mix
        proposal = replace(TRAINER.proposal, mix=ProposalMix(**shares))
        changed = replace(TRAINER, proposal=proposal)
        return trial_costs(settings(DLN2, trainer=changed), TASK, SIZE).proposals().calls

    assert drafts(rewrite=1.0) == drafts(induce=1.0) == drafts(recombine=1.0) == 2 * 6
    assert drafts(examples=1.0) == 0
    # One a label; a hidden layer has no labels, so its proposals rewrite.
    assert drafts(rules=1.0) == 6 + 2 * 6


def test_a_race_is_taken_to_spare_half_of_what_comes_after_its_first_round() -> None:
    def score(first: int | None) -> float:
        racing = RacingConfig(first_examples=first)
        trainer = replace(TRAINER, batch_size=10, racing=racing)
        return trial_costs(settings(trainer=trainer), TASK, SIZE).ranking().calls

    assert score(None) == score(10) == 1 + 7
    assert score(4) == pytest.approx(1 + 7 * (4 + 6 / 2) / 10)


def test_a_layer_costs_proposals_in_its_phases_alone() -> None:
    phases = [PhaseConfig(layers=["output"], num_iterations=2)]
    trainer = replace(TRAINER, phases=phases)
    costs = trial_costs(settings(DLN2, trainer=trainer), TASK, SIZE)
    assert costs.proposals().calls == pytest.approx(3 + 3 / 3)
    assert costs.ranking().calls == pytest.approx((1 + 7 / 3) + 4 * 8)


def test_a_network_that_is_not_trained_is_looked_at_twice() -> None:
    fixed = NetworkConfig(layers=[LayerConfig(trained=False)])
    assert estimate_of(fixed).forward.calls == 20 + 10
    assert estimate_of(fixed).backward.calls == 0


def test_calibration_takes_64_runs_a_network_where_there_are_labels() -> None:
    sampled = {"scoring": ScoringConfig(rung="monte_carlo")}
    more = estimate_of(calibration="empirical").forward.calls - estimate_of().forward.calls
    assert more == 64 * (1 + 3)  # the first network and that of each step
    assert estimate_of(calibration="empirical", **sampled).forward == estimate_of(**sampled).forward


def test_demonstrations_are_read_and_only_the_nearest_of_many() -> None:
    def prompt_tokens(**shots: object) -> float:
        return estimate_of(NetworkConfig(layers=[LayerConfig(trained=False)], **shots)).total.tokens

    five = prompt_tokens(num_shots=5)
    assert five > prompt_tokens()
    assert prompt_tokens(num_shots=5, shots="nearest") == pytest.approx(five, rel=0.05)


def test_free_text_answers_are_written_and_labels_are_scored() -> None:
    free = replace(SIZE, label_tokens=0.0)
    assert estimate_baselines(settings(), SIZE).total.completion_tokens == 0
    assert estimate_baselines(settings(), free).total.completion_tokens > 0
    assert estimate_of(scoring=ScoringConfig(rung="monte_carlo")).forward.completion_tokens > 0


def test_each_reference_point_costs_its_passes_over_the_test_items() -> None:
    def calls(*names: str) -> float:
        return estimate_baselines(settings(), SIZE, names).total.calls

    passes = {"majority": 0, "initial": 1, "handwritten": 3, "few_shot": 1, "kate": 1, "cot": 2}
    assert {name: calls(name) / SIZE.num_test for name in passes} == passes
    assert calls("initial_calibrated") == SIZE.num_test + 64
    assert estimate_baselines(settings(), SIZE).total.calls == calls(*DEFAULT_BASELINES)


def test_a_judge_takes_a_call_for_each_answer_at_its_own_price() -> None:
    judged = {"task": TaskConfig(name="toy", judge="llm")}
    validations = 1 + 2
    estimate = estimate_of(**judged)
    assert estimate.judging.calls == 20 + 10 * validations + 3 * (5 + 2)
    assert estimate.forward == estimate_of().forward
    assert estimate_of().judging.calls == 0
    dear = estimate_of(**judged, llm=_priced(0.0, 0.0), judge_llm=_priced(1.0, 1.0))
    assert dear.cost_usd == pytest.approx(estimate.judging.tokens / 1e6)
    points = estimate_baselines(settings(**judged), SIZE, ("majority", "handwritten"))
    assert points.judging.calls == SIZE.num_test * (1 + 3)


def test_sampled_answers_are_judged_too() -> None:
    sampled = {"scoring": ScoringConfig(rung="monte_carlo")}
    judged = estimate_of(**sampled, task=TaskConfig(name="toy", judge="llm"))
    ranking = 3 * 5 * (1 + 1 + 6) * ScoringConfig().num_samples
    assert judged.judging.calls == 20 + 10 * 3 + 3 * (5 + 2) + ranking


def test_votes_by_probability_need_log_probs() -> None:
    with pytest.raises(ScoringError, match="join: majority"):
        estimate_of(ENSEMBLE, scoring=ScoringConfig(rung="monte_carlo"))


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    run = RunConfig()
    known = estimate_of(llm=_priced(1.0, 2.0))
    unknown = estimate_of(llm=_priced(None, None))
    assert known.cost_usd is not None
    assert sum_estimates([known, known], run).cost_usd == pytest.approx(2 * known.cost_usd)
    assert sum_estimates([known, unknown], run).cost_usd is None
    assert sum_estimates([known, unknown], run).to_dict()["cost_usd"] is None


def test_money_is_tokens_times_price_of_the_model_that_is_asked() -> None:
    estimate = estimate_of(llm=_priced(1.0, 1.0), backward_llm=_priced(100.0, 100.0))
    expected = (estimate.forward.tokens + 100 * estimate.backward.tokens) / 1e6
    assert estimate.cost_usd == pytest.approx(expected)


def test_time_follows_from_the_tightest_limit_and_is_unknown_without_one() -> None:
    part = estimate_of()
    free = RunConfig(llm=SIMULATED, limits=LimitsConfig(max_concurrency=None))
    bounded = RunConfig(llm=SIMULATED, limits=LimitsConfig(requests_per_minute=60))
    assert sum_estimates([part], free).seconds is None
    assert sum_estimates([part], bounded).seconds == pytest.approx(part.total.calls)


def _priced(prompt: float | None, completion: float | None) -> LLMConfig:
    price = PriceConfig(prompt_usd_per_million=prompt, completion_usd_per_million=completion)
    return LLMConfig(provider="simulated", model="simulated", price=price)
