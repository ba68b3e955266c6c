"""Which network of a task is registered: chosen on dev, the test figures unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

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


def test_a_setting_counts_by_its_mean_over_seeds(plan):
    lucky, *steady = plan.trials
    lucky.settings.trainer = replace(lucky.settings.trainer, num_prompts=5)
    figures = {lucky.trial_id: finished(0.6)}
    figures |= {
        trial.trial_id: finished(dev) for trial, dev in zip(steady, (0.75, 0.4), strict=True)
    }
    assert best_trials(plan, figures) == {"triage": lucky}
