from __future__ import annotations

import math
import time

import anyio
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import ConfigError
from dln_core.llm.allowance import Amount
from orchestrator.accounts import Exhausted, Needs, amount_of
from orchestrator.budget import Budget, Grant, check_prices, may_go_on
from orchestrator.settings.schema import BoundsConfig, BudgetConfig
from orchestrator.summary import TrialSummary


def usage(tokens):
    counts = dict.fromkeys(("calls", "paid_calls", "completion_tokens"), 0)
    paid = {"paid_prompt_tokens": 0, "paid_completion_tokens": 0}
    return {"score": {"prompt_tokens": tokens} | counts | paid}


def work(kind, tokens, *, cost_usd=0.0, seconds=1.0):
    return {"kind": kind, "usage": usage(tokens), "cost_usd": cost_usd, "seconds": seconds}


class Toy:
    """Trials with what their parts are expected to take, in tokens."""

    def __init__(self, toy_plan, num_trials=1, **bounds):
        self.trials = toy_plan(*range(1, num_trials + 1)).trials
        self.names = [trial.trial_id for trial in self.trials]
        parts = self.trials[0].parts
        self.validation, self.test = parts.validation.tokens, parts.test.tokens
        self.step, self.growth = parts.step.tokens, parts.growth
        self.least = self.growth * (self.validation + self.test) + parts.longest.tokens
        self.config = BudgetConfig(**bounds)

    def budget(self):
        return Budget(self.config, [(trial, TrialSummary()) for trial in self.trials])


async def test_without_bounds_all_may_begin_and_nothing_is_held_back(toy_plan):
    toy = Toy(toy_plan)
    budget = toy.budget()
    assert await budget.begin(toy.names[0]) is None
    assert await budget.next_step(toy.names[0]) is None


async def test_a_trial_whose_validation_and_test_do_not_fit_is_not_begun(toy_plan):
    toy = Toy(toy_plan)
    least = toy.least
    toy.config = BudgetConfig(max_tokens=int(least) - 1)
    assert await toy.budget().begin(toy.names[0]) == Exhausted("budget.max_tokens", int(least) - 1)
    toy.config = BudgetConfig(max_tokens=int(least) + 1)
    assert await toy.budget().begin(toy.names[0]) is None


async def test_a_step_gets_what_the_test_leaves(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.validation + toy.least + 1.5 * toy.step))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation)))
    first = await budget.next_step(name)
    assert isinstance(first, Grant)
    # The test and, as the last network may lack it, one more validation are set aside.
    free = toy.config.max_tokens - toy.validation - toy.least
    assert first.amount.tokens == pytest.approx(free, rel=0.01)
    budget.record(name, work("step", int(toy.step)))
    assert await budget.next_step(name) == Exhausted("budget.max_tokens", toy.config.max_tokens)


async def test_steps_that_turn_out_dearer_are_no_longer_begun(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.validation + toy.least + 6 * toy.step))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation)))
    assert isinstance(await budget.next_step(name), Grant)
    budget.record(name, work("step", int(4 * toy.step)))
    assert isinstance(await budget.next_step(name), Exhausted)


async def test_a_step_that_was_given_up_is_expected_to_take_more(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.validation + toy.least + 3.5 * toy.step))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation)))
    granted = await budget.next_step(name)
    budget.record(name, work("abandoned", int(granted.amount.tokens)) | {"work": "step"})
    assert isinstance(await budget.next_step(name), Exhausted)


async def test_the_seconds_of_a_sweep_begin_when_its_run_began(toy_plan):
    toy = Toy(toy_plan, max_seconds=100.0)
    so_far = [(trial, TrialSummary()) for trial in toy.trials]
    long_ago = time.monotonic() - 101.0
    exhausted = Exhausted("budget.max_seconds", 100.0)
    assert await Budget(toy.config, so_far, long_ago).begin(toy.names[0]) == exhausted
    assert await Budget(toy.config, so_far).begin(toy.names[0]) is None


async def test_a_trial_waits_for_what_others_may_give_back(toy_plan):
    toy = Toy(toy_plan, num_trials=2)
    toy.config = BudgetConfig(max_tokens=int(1.5 * toy.least))
    budget, (first, second), begun = toy.budget(), toy.names, []

    async def begin_second():
        begun.append(await budget.begin(second))

    await budget.begin(first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_second)
        await anyio.wait_all_tasks_blocked()
        assert not begun
        budget.record(first, work("start", 1))
        budget.end(first)
    assert begun == [None]


async def test_of_trials_that_all_wait_one_is_told_to_end_which_may_serve_the_others(toy_plan):
    toy = Toy(toy_plan, num_trials=3)
    toy.config = BudgetConfig(max_tokens=int(3 * (toy.least + toy.validation)))
    budget, said = toy.budget(), []

    async def train(name):
        said.append(await budget.next_step(name))
        budget.record(name, work("finish", int(toy.test)))
        budget.end(name)

    for name in toy.names:
        await budget.begin(name)
        budget.record(name, work("start", int(toy.validation)))
    async with anyio.create_task_group() as tasks:
        for name in toy.names:
            tasks.start_soon(train, name)
    assert len(said) == 3
    assert isinstance(said[0], Exhausted)


async def test_each_trial_has_bounds_of_its_own(toy_plan):
    toy = Toy(toy_plan)
    bound = int(toy.validation + toy.least + 0.5 * toy.step)
    toy.config = BudgetConfig(trial=BoundsConfig(max_tokens=bound))
    (name,), budget = toy.names, toy.budget()
    assert await budget.begin(name) is None
    budget.record(name, work("start", int(toy.validation)))
    assert await budget.next_step(name) == Exhausted("budget.trial.max_tokens", bound)


def begun(toy, toy_event, *more):
    """What is known of a trial that has taken a step."""
    summary = TrialSummary()
    for event in (
        toy_event(0, usage=usage(int(toy.validation))),
        toy_event(1, usage=usage(int(toy.step))),
        *more,
    ):
        summary.add(event)
    return summary


async def test_what_earlier_runs_used_counts_and_a_trial_that_began_may_end(toy_plan, toy_event):
    toy = Toy(toy_plan)
    summary = begun(toy, toy_event)
    bound = int(summary.tokens + toy.least)
    budget = Budget(BudgetConfig(max_tokens=bound), [(toy.trials[0], summary)])
    assert await budget.begin(toy.names[0]) is None
    assert await budget.next_step(toy.names[0]) == Exhausted("budget.max_tokens", bound)
    assert isinstance(await budget.next_test(toy.names[0]), Grant)


async def test_a_trial_whose_test_does_not_fit_any_more_is_not_taken_up(toy_plan, toy_event):
    toy = Toy(toy_plan)
    summary = begun(toy, toy_event)
    bound = summary.tokens + 1
    budget = Budget(BudgetConfig(max_tokens=bound), [(toy.trials[0], summary)])
    assert await budget.begin(toy.names[0]) == Exhausted("budget.max_tokens", bound)


async def test_a_trial_that_was_tested_goes_on_only_if_another_step_fits(toy_plan, toy_event):
    toy = Toy(toy_plan)
    tested = toy_event(1, kind="finish", usage=usage(int(toy.test)))
    summary = begun(toy, toy_event, tested)
    for part, may_go in ((0.9, False), (1.1, True)):
        bound = int(summary.tokens + toy.least + part * toy.step)
        budget = Budget(BudgetConfig(max_tokens=bound), [(toy.trials[0], summary)])
        assert (await budget.begin(toy.names[0]) is None) == may_go


async def test_a_first_validation_leaves_what_the_test_takes(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.least) + 1)
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    granted = await budget.next_start(name)
    assert toy.validation < granted.amount.tokens
    assert granted.amount.tokens <= toy.config.max_tokens - toy.growth * toy.test
    assert granted.seconds == math.inf


@pytest.mark.parametrize("work_begun", ["start", "finish"])
async def test_an_evaluation_that_was_given_up_needs_more(work_begun, toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(1.5 * toy.least))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    ask = budget.next_start
    if work_begun == "finish":
        budget.record(name, work("start", int(toy.validation)))
        ask = budget.next_test
    given_up = {"work": work_begun}
    granted = await ask(name)
    while isinstance(granted, Grant):
        budget.record(name, work("abandoned", int(granted.amount.tokens)) | given_up)
        granted = await ask(name)
    assert granted == Exhausted("budget.max_tokens", toy.config.max_tokens)


async def test_a_test_that_waits_keeps_what_was_set_aside_for_it(toy_plan):
    toy = Toy(toy_plan, num_trials=2)
    toy.config = BudgetConfig(max_tokens=int(2 * toy.least + toy.validation))
    budget, (first, second), granted = toy.budget(), toy.names, []

    async def ask_for_its_test():
        granted.append(await budget.next_test(first))

    for name in (first, second):
        assert await budget.begin(name) is None
    budget.record(first, work("start", int(2 * toy.validation)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_for_its_test)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(await budget.next_start(second), Grant)
        budget.record(second, work("start", 1))
        budget.end(second)
    assert isinstance(granted[0], Grant)


async def test_reference_points_beside_which_no_trial_could_begin_are_not_begun(toy_plan):
    toy = Toy(toy_plan)
    for extra, may_begin in ((99, False), (101, True)):
        toy.config = BudgetConfig(max_tokens=int(toy.least) + extra)
        budget = toy.budget()
        budget.open("points", Needs({"initial": Amount(100.0)}), toy.names)
        assert (await budget.begin("points") is None) == may_begin


async def test_what_reference_points_took_counts(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.least) + 10)
    budget = toy.budget()
    budget.add(work("baseline", 20))
    assert isinstance(await budget.begin(toy.names[0]), Exhausted)


async def test_reference_points_for_which_nothing_is_left_are_not_begun(toy_plan):
    toy = Toy(toy_plan, max_tokens=1000)
    budget = toy.budget()
    budget.open("points", Needs({"initial": Amount(200.0), "kate": Amount(400.0)}))
    budget.open("others", Needs({"initial": Amount(600.0)}))
    assert await budget.begin("points") is None
    budget.add(work("baseline", 600))
    budget.end("points")
    assert await budget.begin("others") == Exhausted("budget.max_tokens", 1000)


async def test_reference_points_get_twice_what_is_expected_or_the_rest(toy_plan):
    toy = Toy(toy_plan, max_tokens=1000)
    budget, needs = toy.budget(), Needs({"kate": Amount(300.0)})
    budget.open("points", needs)
    await budget.begin("points")
    assert (await budget.next_points("points", Amount(300.0))).amount.tokens == 600
    budget.add(work("baseline", 600))
    assert (await budget.next_points("points", Amount(300.0))).amount.tokens == 400
    budget.add(work("baseline", 400))
    exhausted = Exhausted("budget.max_tokens", 1000)
    assert await budget.next_points("points", Amount(600.0)) == exhausted


async def test_without_bounds_reference_points_are_not_held_back(toy_plan):
    budget = Toy(toy_plan).budget()
    budget.open("points", Needs({"kate": Amount()}))
    assert await budget.begin("points") is None
    assert await budget.next_points("points", Amount()) is None


async def test_what_else_was_used_in_the_folder_counts(toy_plan):
    budget = Budget(Toy(toy_plan, max_tokens=1000).config, [], before=Amount(701.0))
    budget.open("points", Needs({"kate": Amount(300.0)}))
    assert await budget.begin("points") == Exhausted("budget.max_tokens", 1000)


async def test_the_time_that_a_test_will_take_is_kept(toy_plan):
    toy = Toy(toy_plan, trial=BoundsConfig(max_seconds=10.0))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation), seconds=2.0))
    granted = await budget.next_step(name)
    assert granted.seconds == pytest.approx(10.0 - 2.0 - 2.0 * toy.test / toy.validation)
    budget.record(name, work("step", int(toy.step), seconds=4.0))
    assert await budget.next_step(name) == Exhausted("budget.trial.max_seconds", 10.0)


def test_a_training_goes_on_only_if_its_own_bound_was_raised():
    stop = {"reason": "budget", "bound": "budget.max_tokens", "value": 1000}
    assert not may_go_on(stop, BudgetConfig(max_tokens=1000, max_seconds=5))
    assert may_go_on(stop, BudgetConfig(max_tokens=1001))
    assert may_go_on(stop, BudgetConfig(max_cost_usd=1))
    own = {"reason": "budget", "bound": "budget.trial.max_seconds", "value": 5}
    assert not may_go_on(own, BudgetConfig(trial=BoundsConfig(max_seconds=5)))
    assert may_go_on(own, BudgetConfig(max_seconds=5))


def test_money_cannot_be_bounded_where_the_price_is_unknown(toy_plan):
    hosted = LLMConfig(provider="openai_compatible", model="big", base_url="http://x/v1")
    bounds = BoundsConfig(max_cost_usd=1.0)
    told = r"^budget\.trial\.max_cost_usd=1\.0 .* price of big is unknown; give llm\.price"
    with pytest.raises(ConfigError, match=told):
        check_prices("budget.trial", bounds, [hosted])
    check_prices("budget.trial", bounds, [toy_plan().run.llm])
    check_prices("budget", BoundsConfig(), [hosted])


def test_amounts_that_are_not_needed_fit_anywhere():
    assert Amount(0.0, 0.0).fits(Amount(-5.0, -5.0))
    assert not Amount(1.0, 0.0).fits(Amount(0.5, 10.0))


async def test_what_is_not_bounded_stays_so_step_after_step(toy_plan):
    toy = Toy(toy_plan, max_seconds=100.0)
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation)))
    for _ in range(3):
        granted = await budget.next_step(name)
        assert granted.amount == Amount(float("inf"), float("inf"))
        budget.record(name, work("step", int(toy.step), cost_usd=0.1))


async def test_a_step_that_is_begun_again_has_what_was_set_aside_for_it(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(toy.validation + toy.least + 2.5 * toy.step))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", int(toy.validation)))
    first = await budget.next_step(name)
    assert isinstance(first, Grant)
    assert (await budget.next_step(name)).amount == first.amount


async def test_a_trial_that_failed_before_its_first_validation_has_yet_to_begin(toy_plan):
    toy = Toy(toy_plan)
    bound = int(toy.least) - 1
    failed = TrialSummary()
    failed.add({"kind": "failed", "step": 0, "error": "the endpoint was away"})
    budget = Budget(BudgetConfig(max_tokens=bound), [(toy.trials[0], failed)])
    assert await budget.begin(toy.names[0]) == Exhausted("budget.max_tokens", bound)


async def test_an_endpoint_that_counts_no_tokens_does_not_make_steps_free(toy_plan):
    toy = Toy(toy_plan)
    toy.config = BudgetConfig(max_tokens=int(10 * (toy.least + toy.step)))
    (name,), budget = toy.names, toy.budget()
    await budget.begin(name)
    budget.record(name, work("start", 0))
    for _ in range(2):
        assert (await budget.next_step(name)).amount.tokens == pytest.approx(2 * toy.step)
        budget.record(name, work("step", 0))


async def test_a_resumed_trial_expects_what_its_parts_took_before(toy_plan, toy_event):
    toy = Toy(toy_plan)
    parts = [
        toy_event(0, usage=usage(int(3 * toy.validation)), seconds=4.0),
        toy_event(1, usage=usage(int(2 * toy.step)), seconds=8.0),
    ]
    bound = sum(amount_of(part).tokens for part in parts) + 3 * toy.least + 3 * toy.step
    toy.config = BudgetConfig(max_tokens=int(bound), max_seconds=3600.0)
    (name,), budget, summary = toy.names, toy.budget(), TrialSummary()
    await budget.begin(name)
    for part in parts:
        budget.record(name, part)
        summary.add(part)
    resumed = Budget(toy.config, [(toy.trials[0], summary)])
    await resumed.begin(name)
    granted, again = await budget.next_step(name), await resumed.next_step(name)
    assert granted.amount == again.amount
    assert granted.seconds == pytest.approx(again.seconds, abs=1.0)
