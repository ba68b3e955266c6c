"""Trials that share a budget: nobody is left untested because of what others do."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import anyio
import pytest

from dln_core.llm.allowance import Amount
from orchestrator.accounts import Exhausted, Needs
from orchestrator.budget import Budget, Grant
from orchestrator.planning.parts import Parts
from orchestrator.settings.schema import BoundsConfig, BudgetConfig
from orchestrator.summary import TrialSummary
from tests.orchestrator.test_budget import usage, work

VALIDATION, TEST, STEP = 100, 200, 500
PARTS = Parts(
    validation=Amount(VALIDATION), test=Amount(TEST), step=Amount(STEP), growth=1.25,
    longest=Amount(10.0),
)  # fmt: skip
RESERVE = 385


@pytest.fixture
def trials_of(toy_plan):
    """Trials whose parts take round numbers of tokens."""

    def make(count):
        plan = toy_plan(*range(1, count + 1))
        return [replace(trial, parts=PARTS) for trial in plan.trials]

    return make


def recorded(toy_event, *kinds, seconds=1.0):
    taken = {"start": VALIDATION, "step": STEP, "finish": TEST}
    summary = TrialSummary()
    for step, kind in enumerate(kinds):
        parts = {"usage": usage(taken[kind]), "seconds": seconds, "cost_usd": 0.0}
        summary.add(toy_event(step, kind=kind, **parts))
    return summary


class Simulated:
    """A trial that takes so many times what is expected, at moments that chance decides."""

    def __init__(self, budget, name, chance):
        self.budget, self.name, self.chance = budget, name, chance
        self.factor = chance.choice([0.5, 1.0, 1.0, 1.2, 2.0])
        self.has_begun, self.is_tested, self.used = False, False, 0

    async def unit(self, kind, tokens, ask):
        """Do a unit of work, again and again until it fits; tell whether it did."""
        while True:
            granted = await ask(self.name)
            if isinstance(granted, Exhausted):
                return False
            for _ in range(self.chance.randint(1, 6)):
                await anyio.lowlevel.checkpoint()
            is_done = tokens <= granted.amount.tokens
            taken = tokens if is_done else int(granted.amount.tokens)
            self.used += taken
            event = work(kind if is_done else "abandoned", taken) | {"work": kind}
            self.budget.record(self.name, event)
            if is_done:
                return True

    async def run(self):
        budget, factor = self.budget, self.factor
        if await budget.begin(self.name) is not None:
            return
        self.has_begun = await self.unit("start", int(VALIDATION * factor), budget.next_start)
        for share in self.chance.choices([0.5, 1.0, 1.0, 2.5], k=4) if self.has_begun else ():
            if not await self.unit("step", int(STEP * share), budget.next_step):
                break
        if self.has_begun:
            self.is_tested = await self.unit("finish", int(TEST * factor), budget.next_test)
        budget.end(self.name)


@pytest.mark.parametrize("seed", range(100))
async def test_whoever_takes_no_more_than_expected_is_tested_and_no_bound_is_passed(
    seed, trials_of
):
    chance = random.Random(seed)
    planned = trials_of(chance.randint(1, 5))
    bound = chance.randint(300, 3 * RESERVE * len(planned))
    budget = Budget(BudgetConfig(max_tokens=bound), [(each, TrialSummary()) for each in planned])
    simulated = [Simulated(budget, trial.trial_id, chance) for trial in planned]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for each in simulated:
                tasks.start_soon(each.run)
    assert all(each.is_tested for each in simulated if each.has_begun and each.factor <= 1)
    left = bound - sum(each.used for each in simulated)
    assert left >= 0
    for needed, fits in ((left, True), (left + 1, False)):
        budget.open("points", Needs({"kate": Amount(needed)}))
        assert (await budget.begin("points") is None) == fits
        budget.end("points")


async def test_a_trial_that_takes_more_than_expected_takes_nothing_from_others(trials_of):
    planned = trials_of(2)
    budget = Budget(BudgetConfig(max_tokens=1100), [(each, TrialSummary()) for each in planned])
    frugal, dear = (trial.trial_id for trial in planned)
    for name in (frugal, dear):
        assert await budget.begin(name) is None
    budget.record(frugal, work("start", VALIDATION))
    budget.record(dear, work("start", 2 * VALIDATION))
    assert isinstance(await budget.next_test(frugal), Grant)


async def test_a_trial_that_began_is_tested_though_its_texts_may_not_grow(trials_of):
    (trial,) = trials_of(1)
    bound = RESERVE + 1
    budget = Budget(BudgetConfig(max_tokens=bound), [(trial, TrialSummary())])
    assert await budget.begin(trial.trial_id) is None
    budget.record(trial.trial_id, work("start", VALIDATION))
    assert isinstance(await budget.next_step(trial.trial_id), Exhausted)
    assert isinstance(await budget.next_test(trial.trial_id), Grant)


async def test_of_two_tested_trials_one_goes_on_where_one_step_is_left(trials_of, toy_event):
    planned = trials_of(2)
    so_far = [(each, recorded(toy_event, "start", "step", "finish")) for each in planned]
    used = sum(summary.tokens for _, summary in so_far)
    budget = Budget(BudgetConfig(max_tokens=used + 2 * RESERVE + STEP + 100), so_far)
    first, second = (trial.trial_id for trial in planned)
    assert await budget.begin(first) is None
    begun = []

    async def begin_second():
        begun.append(await budget.begin(second))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_second)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(await budget.next_step(first), Grant)
        budget.record(first, work("step", STEP))
        budget.record(first, work("finish", TEST))
        budget.end(first)
    assert isinstance(begun[0], Exhausted)


async def test_a_tested_trial_goes_on_only_if_there_is_time_for_a_step(trials_of, toy_event):
    (trial,) = trials_of(1)
    summary = recorded(toy_event, "start", "step", "finish", seconds=20.0)
    for max_seconds, may_go_on in ((75.0, False), (125.0, True)):
        config = BudgetConfig(trial=BoundsConfig(max_seconds=max_seconds))
        exhausted = await Budget(config, [(trial, summary)]).begin(trial.trial_id)
        assert (exhausted is None) == may_go_on


async def test_after_a_kill_a_new_trial_does_not_take_the_test_of_one_that_began(
    trials_of, toy_event
):
    new, begun = trials_of(2)
    so_far = [(new, TrialSummary()), (begun, recorded(toy_event, "start"))]
    budget = Budget(BudgetConfig(max_tokens=VALIDATION + RESERVE + 100), so_far)
    assert isinstance(await budget.begin(new.trial_id), Exhausted)
    assert await budget.begin(begun.trial_id) is None
    assert isinstance(await budget.next_test(begun.trial_id), Grant)


async def test_reference_points_are_measured_beside_a_trial_whose_test_is_set_aside(
    trials_of, toy_event
):
    (begun,) = trials_of(1)
    so_far = [(begun, recorded(toy_event, "start"))]
    left = TEST + 10 + 50
    for needed, fits in ((40, True), (60, False)):
        budget = Budget(BudgetConfig(max_tokens=VALIDATION + left), so_far)
        budget.open("points", Needs({"kate": Amount(needed)}), [begun.trial_id])
        assert (await budget.begin("points") is None) == fits


async def test_what_was_given_up_is_known_to_the_next_run(trials_of):
    (trial,) = trials_of(1)
    summary = TrialSummary()
    for _ in range(2):
        summary.add(work("abandoned", 10) | {"work": "start"})
    budget = Budget(BudgetConfig(max_tokens=2 * RESERVE), [(trial, summary)])
    assert isinstance(await budget.begin(trial.trial_id), Exhausted)


async def test_where_time_is_up_nobody_waits_for_others(trials_of):
    planned = trials_of(2)
    so_far = [(each, TrialSummary()) for each in planned]
    long_ago = time.monotonic() - 50.0
    budget = Budget(BudgetConfig(max_seconds=60.0), so_far, long_ago)
    first, second = (trial.trial_id for trial in planned)
    for name in (first, second):
        assert await budget.begin(name) is None
        budget.record(name, work("start", VALIDATION, seconds=20.0))
    with anyio.fail_after(5):
        assert isinstance(await budget.next_step(first), Exhausted)
        assert isinstance(await budget.next_test(first), Grant)


async def test_work_that_was_expected_to_cost_nothing_is_not_tried_without_end(trials_of):
    (trial,) = trials_of(1)
    budget = Budget(BudgetConfig(max_cost_usd=1.0), [(trial, TrialSummary())])
    await budget.begin(trial.trial_id)
    budget.record(trial.trial_id, work("start", VALIDATION))
    for _ in range(50):
        granted = await budget.next_step(trial.trial_id)
        if isinstance(granted, Exhausted):
            return
        budget.record(trial.trial_id, work("abandoned", 0) | {"work": "step"})
    pytest.fail("the step is tried again and again")
