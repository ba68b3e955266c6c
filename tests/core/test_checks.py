"""What is refused before any call: settings that do not fit the task, and data that misleads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dln_core.checks import check_rung, check_settings, effective_rung
from dln_core.config import (
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    PhaseConfig,
    PosteriorConfig,
    ScoringConfig,
    SelectionConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.errors import ConfigError, ScoringError
from tests.worlds import parity_task

TASK = parity_task()
FREE = TASK.without_label_scores()
DLN2 = NetworkConfig(
    name="dln2",
    layers=[LayerConfig(name="thoughts", template="hidden", max_tokens=8), LayerConfig()],
)
COT = replace(DLN2, name="cot", trained=[])


def with_train(task, train):
    return replace(task, splits=replace(task.splits, train=tuple(train)))


def test_settings_that_fit_are_let_through():
    check_settings(TrialSettings(), TASK)
    check_rung(TrialSettings(), TASK)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_an_empty_split_is_refused(split):
    task = replace(TASK, splits=replace(TASK.splits, **{split: ()}))
    with pytest.raises(ConfigError, match=f"empty {split} split"):
        check_settings(TrialSettings(), task)


def test_a_batch_larger_than_the_training_set_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size=20 is too large for the 20 training"):
        check_settings(TrialSettings(), with_train(TASK, TASK.splits.train[:20]))


def test_a_class_without_training_examples_is_refused():
    even = [example for example in TASK.splits.train if example.target == "Even"]
    with pytest.raises(ConfigError, match="no training example of parity has the label Odd"):
        check_settings(TrialSettings(), with_train(TASK, even))


def test_an_answer_outside_the_labels_is_refused():
    odd_one = replace(TASK.splits.train[0], target="Perhaps")
    with pytest.raises(ConfigError, match=r"'Perhaps', which is not among its labels"):
        check_settings(TrialSettings(), with_train(TASK, [odd_one, *TASK.splits.train[1:]]))


def test_labels_that_begin_one_another_are_refused():
    labels = ("Even", "Evening", "Odd")
    train = [replace(example, labels=labels) for example in TASK.splits.train]
    with pytest.raises(ConfigError, match="label 'Even' of parity begins the label 'Evening'"):
        check_settings(TrialSettings(), with_train(replace(TASK, labels=labels), train))


@pytest.mark.parametrize(
    ("network", "task", "rung", "expected"),
    [
        (NetworkConfig(), TASK, "score", "score"),
        (DLN2, TASK, "echo", "echo"),
        (NetworkConfig(), TASK, "label", "label"),
        (DLN2, TASK, "label", "monte_carlo"),
        (COT, TASK, "label", "label"),
        (NetworkConfig(), FREE, "label", "monte_carlo"),
        (NetworkConfig(), TASK, "monte_carlo", "monte_carlo"),
    ],
)
def test_a_trial_samples_where_the_endpoint_cannot_score_what_it_trains(
    network, task, rung, expected
):
    assert effective_rung(TrialSettings(network=network), task, rung) == expected


def test_a_rung_that_cannot_score_hidden_text_is_refused_if_it_was_asked_for():
    asked = TrialSettings(network=DLN2, scoring=ScoringConfig(rung="label"))
    with pytest.raises(ConfigError, match="training dln2 on parity scores whole texts"):
        check_rung(asked, TASK)
    check_rung(replace(asked, network=COT), TASK)


def test_a_vote_by_probability_needs_probabilities():
    vote = NetworkConfig(
        name="vote", layers=[LayerConfig(width=2, shares_prompt=False, join="vote")]
    )
    with pytest.raises(ScoringError, match="set join: majority"):
        effective_rung(TrialSettings(network=vote), FREE, "label")
    assert effective_rung(TrialSettings(network=vote), TASK, "label") == "label"


@pytest.mark.parametrize("network", [DLN2, COT])
def test_a_phase_of_a_layer_that_is_not_trained_is_refused(network):
    name = "thought" if network is DLN2 else "thoughts"
    trainer = TrainerConfig(phases=[PhaseConfig(layers=[name])])
    with pytest.raises(ConfigError, match=f"{name!r}, which is no trained layer of"):
        TrialSettings(network=network, trainer=trainer)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patience": 3}, "could end training before the last"),
        ({"num_iterations": 1}, "have 2 iterations, but trainer.num_iterations is 1"),
    ],
)
def test_a_schedule_that_could_not_be_carried_out_is_refused(values, message):
    phases = [PhaseConfig(layers=["output"], num_iterations=2)]
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(phases=phases, **values)


def test_importance_weights_need_the_density_of_the_model_that_drew():
    trainer = TrainerConfig(posterior=PosteriorConfig(use_guide_density=True))
    settings = TrialSettings(trainer=trainer, backward_llm=LLMConfig(model="larger"))
    with pytest.raises(ConfigError, match="backward_llm is another model than llm"):
        check_settings(settings, TASK)


def test_evidence_needs_whole_log_probs():
    with pytest.raises(ConfigError, match="logprob_scale=sum"):
        SelectionConfig(evidence=True)
