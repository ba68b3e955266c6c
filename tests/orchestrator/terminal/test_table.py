"""The title of the table claims no more than is true of its trials."""

from __future__ import annotations

import pytest

from orchestrator.comparison import SweepResults
from orchestrator.summary import TrialSummary
from orchestrator.terminal.table import title


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ((1, 1, 0), "each trial is tested once"),
        ((1, 2, 1), "1 trial was tested more than once"),
        ((3, 2, 1), "2 trials were tested more than once"),
    ],
)
def test_the_title_says_how_many_trials_were_tested_more_than_once(toy_plan, looks, told):
    trials = toy_plan(1, 2, 3).trials
    summaries = {
        trial.trial_id: TrialSummary(test_looks=count)
        for trial, count in zip(trials, looks, strict=True)
    }
    text = title(SweepResults(trials, summaries, {}, ()))
    assert text == f"Test accuracy in percent with 95 % intervals; {told}"
