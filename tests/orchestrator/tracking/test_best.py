"""Which network of a task is registered: chosen on dev, the test figures unseen."""

from __future__ import annotations

import pytest

from orchestrator.report.methods import find_methods
from orchestrator.summary import TrialSummary
from orchestrator.tracking.best import best_trials


def finished(dev_accuracy: float, test_accuracy: float = 0.0) -> TrialSummary:
    test = {"accuracy": test_accuracy}
    return TrialSummary(status="finished", dev_accuracy=dev_accuracy, test=test)


@pytest.fixture
def plan(toy_plan):
    return toy_plan(1, 2, 3)


def test_the_best_on_dev_is_chosen_however_the_test_went(plan):
    figures = [finished(0.5, 0.9), finished(0.7, 0.1), finished(0.7, 0.8)]
    summaries = {t.trial_id: s for t, s in zip(plan.trials, figures, strict=True)}
    assert best_trials(plan, summaries) == {"triage": plan.trials[1]}


def test_trials_that_did_not_finish_are_no_choice(plan):
    figures = [finished(0.5), TrialSummary(status="unfinished", dev_accuracy=0.9), TrialSummary()]
    summaries = {t.trial_id: s for t, s in zip(plan.trials, figures, strict=True)}
    assert best_trials(plan, summaries) == {"triage": plan.trials[0]}
    assert best_trials(plan, dict.fromkeys(summaries, TrialSummary())) == {}


def test_a_setting_counts_by_its_mean_over_seeds(toy_plan):
    plan = toy_plan(1, 2, 3, 4)
    for trial, num_prompts in zip(plan.trials, (5, 5, 4, 4), strict=True):
        trial.varying["trainer.num_prompts"] = num_prompts
    figures = [finished(0.6), finished(0.6), finished(0.75), finished(0.4)]
    summaries = {t.trial_id: s for t, s in zip(plan.trials, figures, strict=True)}
    assert best_trials(plan, summaries) == {"triage": plan.trials[0]}


def test_what_is_registered_is_what_the_report_shows_as_the_best(toy_plan):
    plan = toy_plan(1, 2, 3)
    for trial, num_prompts in zip(plan.trials, (5, 4, 4), strict=True):
        trial.varying["trainer.num_prompts"] = num_prompts
    # A setting tested with one seed alone may be lucky.
    figures = [finished(0.6), finished(0.75), finished(0.4)]
    summaries = {t.trial_id: s for t, s in zip(plan.trials, figures, strict=True)}
    shown = find_methods(plan.trials, summaries).best_on_dev("triage")
    assert best_trials(plan, summaries) == {"triage": shown.best_trial}
    assert shown.best_trial == plan.trials[1]


def test_without_training_the_best_of_the_other_networks_is_chosen(toy_plan):
    plan = toy_plan(1, trained=False)
    (trial,) = plan.trials
    assert best_trials(plan, {trial.trial_id: finished(0.5)}) == {"triage": trial}
