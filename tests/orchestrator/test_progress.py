from __future__ import annotations

import io

from rich.console import Console

from orchestrator.progress import PlainLines, SweepProgress, cost_text, duration_text
from orchestrator.summary import TrialSummary


def progress_of(plan):
    summaries = {trial.trial_id: TrialSummary() for trial in plan.trials}
    return SweepProgress(plan, summaries, max_trials=2), summaries


def shown(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_only_moving_trials_are_listed(toy_plan):
    plan = toy_plan(13, 42)
    progress, _ = progress_of(plan)
    progress.moved(plan.trials[1], "starting")
    text = shown(progress)
    assert plan.trials[1].name in text
    assert plan.trials[0].name not in text
    assert "0 of 2 trials finished" in text


def test_a_moving_trial_shows_what_it_has_used_so_far(toy_plan, toy_event):
    plan = toy_plan()
    trial = plan.trials[0]
    progress, summaries = progress_of(plan)
    progress.moved(trial, "starting")
    for step in (0, 1):
        summaries[trial.trial_id].add(toy_event(step))
        progress.recorded(trial, toy_event(step), step + 1)
    line = next(line for line in shown(progress).splitlines() if line.startswith(trial.name))
    assert line.split()[-7:-1] == ["running", "1/2", "60.0", "20", "440", "$0.5000"]
    progress.counted(trial.trial_id, {"calls": 33, "tokens": 999})
    assert " 33 " in shown(progress)


def test_a_finished_trial_leaves_the_list(toy_plan, toy_event):
    plan = toy_plan()
    progress, _ = progress_of(plan)
    progress.moved(plan.trials[0], "starting")
    progress.recorded(plan.trials[0], toy_event(2, kind="finish"), 3)
    assert plan.trials[0].name not in shown(progress)
    assert "1 of 1 trials finished" in progress.totals_line()


def test_files_get_a_line_an_event(toy_plan, toy_event):
    plan = toy_plan()
    trial = plan.trials[0]
    progress, _ = progress_of(plan)
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console, progress)
    lines.moved(trial, "starting")
    lines.recorded(trial, toy_event(1), 2)
    lines.recorded(trial, {"kind": "failed", "error": "no [key]"}, 3)
    text = console.file.getvalue()
    assert f"{trial.name}: starting\n" in text
    assert f"{trial.name}: step 1, dev 0.600, elbo -2.000, 10 calls, 2.0 s\n" in text
    assert f"{trial.name}: failed: no [key]\n" in text


def test_amounts_and_durations_are_short():
    assert (cost_text(None), cost_text(0.5)) == ("$?", "$0.5000")
    assert [duration_text(s) for s in (None, 5, 65, 3725)] == ["?", "0m05s", "1m05s", "1h02m"]
