"""Trials that do worse than others end early, as Optuna's own pruner says."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from dln_core.config import TaskConfig, TrainerConfig
from dln_core.errors import ConfigError
from orchestrator.budget import Budget, Exhausted, Grant
from orchestrator.halving import Halving
from orchestrator.settings.schema import BudgetConfig, RunConfig, SchedulerConfig
from orchestrator.summary import TrialSummary

ASHA = SchedulerConfig(kind="asha", min_steps=2, reduction_factor=2)
STEPS = TrainerConfig(num_iterations=8, batch_size=6, num_prompts=4, validate_every=1)
# Trial, step, best dev accuracy so far: the order in which they are journalled.
HISTORY = (
    (0, 1, 0.6), (1, 1, 0.2), (0, 2, 0.6), (1, 2, 0.5), (2, 1, 0.6), (2, 2, 0.7),
    (0, 3, 0.6), (0, 4, 0.65), (3, 2, 0.65), (2, 4, 0.7), (3, 4, 0.66),
)  # fmt: skip


@pytest.fixture
def sweep(toy_plan):
    """Four trials on one task, of which only the seed differs."""
    return toy_plan(1, 2, 3, 4, scheduler=ASHA, trainer=STEPS)


def started(plan, summaries=None):
    summaries = summaries or {trial.trial_id: TrialSummary() for trial in plan.trials}
    return Halving.of(plan, summaries)


def validation(toy_event, position, step, accuracy):
    """The event of a validated step; no two are of the same time."""
    time = 1000.0 + 10 * position
    return toy_event(step, time=time, best={"dev_accuracy": accuracy, "step": step})


def decisions(halving, plan, toy_event, history):
    """What is said of each trial right after its validations."""
    for position, (number, step, accuracy) in enumerate(history):
        trial = plan.trials[number]
        halving.recorded(trial, validation(toy_event, position, step, accuracy), step + 1)
        yield number, step, halving.prunes(trial.trial_id)


def optunas_decisions(history):
    """The same by Optuna alone."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trials = [study.ask() for _ in range(4)]
    for number, step, accuracy in history:
        trials[number].report(accuracy, step)
        yield number, step, trials[number].should_prune()


def test_an_inferior_trial_ends_where_optunas_own_pruner_ends_it(sweep, toy_event):
    decided = list(decisions(started(sweep), sweep, toy_event, HISTORY))
    assert decided == list(optunas_decisions(HISTORY))
    assert [(number, step) for number, step, prunes in decided if prunes] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("cut", range(1, len(HISTORY)))
def test_a_resumed_sweep_decides_as_an_undisturbed_one(sweep, toy_event, cut):
    summaries = {trial.trial_id: TrialSummary() for trial in sweep.trials}
    for position, (number, step, accuracy) in enumerate(HISTORY[:cut]):
        event = validation(toy_event, position, step, accuracy)
        summaries[sweep.trials[number].trial_id].add(event)
    resumed, undisturbed = started(sweep, summaries), started(sweep)
    before = list(decisions(undisturbed, sweep, toy_event, HISTORY[:cut]))
    last = {number: prunes for number, _, prunes in before}
    assert last == {number: resumed.prunes(sweep.trials[number].trial_id) for number in last}
    later = HISTORY[cut:]
    assert list(decisions(resumed, sweep, toy_event, later)) == list(
        decisions(undisturbed, sweep, toy_event, later)
    )


@pytest.mark.parametrize("what", ["task", "network", "model"])
def test_trials_that_do_not_compare_do_not_end_each_other(sweep, toy_event, what):
    trial = sweep.trials[1]
    settings = trial.settings
    other = {
        "task": lambda: replace(settings, task=TaskConfig(name="routing")),
        "network": lambda: replace(settings, network=replace(settings.network, name="mine")),
        "model": lambda: replace(settings, llm=replace(settings.llm, model="another")),
    }[what]()
    plan = replace(sweep, trials=(sweep.trials[0], replace(trial, settings=other)))
    history = [(0, 2, 0.9), (1, 2, 0.1)]
    assert [p for *_, p in decisions(started(plan), plan, toy_event, history)] == [False, False]
    assert [p for *_, p in decisions(started(sweep), sweep, toy_event, history)] == [False, True]


def test_steps_that_are_not_validated_decide_nothing(sweep, toy_event):
    halving, (first, second, *_) = started(sweep), sweep.trials
    halving.recorded(first, validation(toy_event, 0, 2, 0.9), 3)
    halving.recorded(second, toy_event(2, metrics={}, best={"dev_accuracy": 0.1, "step": 0}), 3)
    assert not halving.prunes(second.trial_id)


def test_an_equal_trial_goes_on(sweep, toy_event):
    history = [(number, 2, 0.5) for number in range(4)]
    assert not any(prunes for *_, prunes in decisions(started(sweep), sweep, toy_event, history))


async def test_what_a_trial_that_ended_early_leaves_goes_to_the_others(sweep):
    first, second = sweep.trials[:2]
    parts = first.parts
    least = (parts.test + parts.validation).times(2) + parts.validation.times(2)
    tokens = int((least + parts.step.times(8.5)).tokens)

    async def steps(ended_after):
        """Steps of the first trial, where the second one makes so many."""
        budget = Budget(
            BudgetConfig(max_tokens=tokens), [(each, TrialSummary()) for each in (first, second)]
        )
        for trial in (first, second):
            await budget.begin(trial.trial_id)
            budget.record(trial.trial_id, taken("start", parts.validation.tokens))
        for _ in range(ended_after):
            assert isinstance(await budget.next_step(second.trial_id), Grant)
            budget.record(second.trial_id, taken("step", parts.step.tokens))
        budget.record(second.trial_id, taken("finish", parts.test.tokens))
        budget.end(second.trial_id)
        count = 0
        while isinstance(granted := await budget.next_step(first.trial_id), Grant):
            count += 1
            budget.record(first.trial_id, taken("step", parts.step.tokens))
        assert isinstance(granted, Exhausted)
        return count

    assert await steps(ended_after=1) - await steps(ended_after=4) == 3


def taken(kind, tokens):
    names = ("calls", "completion_tokens", "paid_calls")
    more = dict.fromkeys((*names, "paid_prompt_tokens", "paid_completion_tokens"), 0)
    counts = {"prompt_tokens": round(tokens), **more}
    return {"kind": kind, "usage": {"score": counts}, "cost_usd": 0.0, "seconds": 1.0}


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ({"validate_every": 0}, "trainer.validate_every=0 validates the first and the last"),
        ({"num_iterations": 2}, "first compare trials after step 2"),
        ({"validate_every": 5, "num_iterations": 5}, "first compare trials after step 5"),
    ],
)
def test_trials_that_could_never_end_early_are_refused(trainer, told):
    with pytest.raises(ConfigError, match=told):
        RunConfig(scheduler=ASHA, trainer=TrainerConfig(**trainer))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "lifo"}, "scheduler.kind=lifo is unknown"),
        ({"min_steps": 2}, "has no meaning with scheduler=fifo"),
        ({"kind": "asha", "min_steps": 0, "reduction_factor": 2}, "min_steps=0 must be 1 or more"),
        ({"kind": "asha", "min_steps": 1, "reduction_factor": 1}, "reduction_factor=1 must be 2"),
    ],
)
def test_wrong_settings_of_the_scheduler_are_told(values, told):
    with pytest.raises(ConfigError, match=told):
        SchedulerConfig(**values)
