"""How far a sweep is, and what is left of it."""

from __future__ import annotations

import pytest

from orchestrator.summary import TrialSummary
from orchestrator.terminal.progress import RATE_WINDOW_S, Spent, SweepProgress


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def followed(toy_plan, toy_event, clock):
    """A sweep of some trials, and a function that lets one of them record events."""

    def follow(*seeds, max_trials=2):
        plan = toy_plan(*seeds)
        summaries = {trial.trial_id: TrialSummary() for trial in plan.trials}
        progress = SweepProgress(plan, summaries, max_trials, clock)

        def record(trial, step, **parts):
            event = toy_event(step, **parts)
            summaries[trial.trial_id].add(event)
            progress.recorded(trial, event, step + 1)

        return plan.trials, progress, record

    return follow


def test_trials_move_from_waiting_to_their_end(followed):
    trials, progress, record = followed(1, 2, 3)
    assert progress.totals().by_phase == {"waiting": 3}
    progress.moved(trials[0], "starting")
    progress.moved(trials[1], "starting")
    record(trials[1], 0)
    assert progress.totals().by_phase == {"running": 1, "starting": 1, "waiting": 1}
    assert [moving.trial for moving in progress.moving()] == list(trials[:2])
    record(trials[1], 2, kind="finish")
    record(trials[0], 0, kind="failed", error="gone")
    assert progress.totals().by_phase == {"finished": 1, "failed": 1, "waiting": 1}
    assert progress.moving() == []


def test_what_an_actor_tells_of_comes_on_top_of_what_was_recorded_before_it(followed):
    trials, progress, record = followed(1)
    record(trials[0], 0)
    before = Spent(10, 220, 0.25)
    assert progress.totals().spent == before
    progress.moved(trials[0], "starting")
    progress.counted(trials[0].trial_id, {})
    progress.counted(trials[0].trial_id, {"calls": 3, "tokens": 30, "cost_usd": 0.05})
    assert progress.totals().spent == before + Spent(3, 30, 0.05)
    record(trials[0], 1)
    assert progress.totals().spent == Spent(20, 440, 0.5)
    record(trials[0], 2, kind="finish", cost_usd=None)
    assert progress.totals().spent == Spent(30, 660, None)


def test_calls_a_second_are_those_of_the_last_seconds(followed, clock):
    trials, progress, _ = followed(1)
    progress.moved(trials[0], "starting")
    assert progress.totals().calls_per_s is None
    for calls in range(0, 3000, 100):
        progress.counted(trials[0].trial_id, {"calls": calls, "tokens": 0, "cost_usd": 0.0})
        clock.now_s += 1
    assert progress.totals().calls_per_s == 100
    clock.now_s += RATE_WINDOW_S
    progress.counted(trials[0].trial_id, {"calls": 2900, "tokens": 0, "cost_usd": 0.0})
    assert progress.totals().calls_per_s is None


def test_the_time_left_is_spread_over_the_free_places(followed, clock):
    trials, progress, record = followed(*range(9), max_trials=4)
    assert progress.totals().left_s is None
    progress.moved(trials[0], "starting")
    record(trials[0], 0, seconds=10.0)
    # Two steps and a test of ten seconds each, nine times, four at once.
    assert progress.totals().left_s == pytest.approx(9 * 30 / 4)
    clock.now_s += 20.0
    record(trials[0], 1, seconds=10.0)
    (moving,) = progress.moving()
    # By its own clock a step took twenty seconds; what waits goes by what was recorded.
    assert progress.left_s(moving) == 40.0
    assert progress.totals().left_s == pytest.approx((40 + 8 * 30) / 4)
    for trial in trials:
        record(trial, 2, kind="finish")
    assert progress.totals().left_s == 0.0


def test_a_lone_long_trial_is_not_divided_over_places_that_it_cannot_use(followed, clock):
    trials, progress, record = followed(1, 2, max_trials=8)
    progress.moved(trials[0], "starting")
    record(trials[0], 0, seconds=10.0)
    record(trials[1], 2, kind="finish", seconds=10.0)
    assert progress.totals().left_s == pytest.approx(30.0, rel=0.5)
    assert progress.totals().left_s >= 3 * 20 / 3


def test_resumed_trials_are_timed_by_their_steps_of_this_run(followed, clock):
    trials, progress, record = followed(1)
    record(trials[0], 0)
    progress.moved(trials[0], "starting")
    clock.now_s += 100.0  # opening it says nothing of its steps
    record(trials[0], 1)
    (moving,) = progress.moving()
    assert progress.left_s(moving) is None
    clock.now_s += 7.0
    record(trials[0], 2)
    assert progress.left_s(moving) == 7.0


def test_a_trial_that_is_to_stop_has_its_test_left_alone(followed, clock):
    trials, progress, record = followed(1)
    (trial,) = trials
    progress.moved(trial, "starting")
    record(trial, 0, kind="reopen")
    # The actor is still starting: that time is no step's.
    assert progress.totals().by_phase == {"starting": 1}
    record(trial, 0)
    (moving,) = progress.moving()
    assert moving.units_left == 3
    record(trial, 0, kind="stop", reason="pruned", bound=None, value=None)
    assert moving.units_left == 1
