"""What a driver decides for one trial, with the real actor in this process instead of Ray's."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from dln_core.config import CacheConfig
from dln_core.errors import BudgetError
from dln_core.trial import Services
from orchestrator.budget import Budget
from orchestrator.cluster.materials import MaterialsStore
from orchestrator.cluster.ray_cluster import ActorLostError
from orchestrator.planning.parts import Parts
from orchestrator.settings.schema import BudgetConfig
from orchestrator.trial_driver import Site, TrialDriver
from orchestrator.trial_journal import TrialJournal


class Method:
    """A method that is begun at once and may be awaited; no call outlives its actor."""

    def __init__(self, method, calls):
        self._method = method
        self._calls = calls

    def remote(self, *args):
        call = asyncio.ensure_future(self._method(*args))
        self._calls.append(call)
        return call


class Handle:
    """An actor of this process, called as Ray's are."""

    def __init__(self, actor):
        self._actor = actor
        self.calls_begun = []

    def __getattr__(self, name):
        return Method(getattr(self._actor, name), self.calls_begun)


class DiesAtClose(Handle):
    """An actor whose process is lost once its work is done."""

    @property
    def close(self):
        async def die():
            await self._actor.close()
            raise ActorLostError("it was lost")

        return Method(die, self.calls_begun)


class LosesOneAnswer(Handle):
    """An actor whose process is lost when its third unit is done, before the driver knows."""

    num_units = 0

    @property
    def advance(self):
        async def advance(order):
            answer = await self._actor.advance(order)
            LosesOneAnswer.num_units += 1
            if LosesOneAnswer.num_units == 3:
                raise ActorLostError("it was lost")
            return answer

        return Method(advance, self.calls_begun)


class InProcess:
    """Stands where a cluster is; it also stands for its servers, of which there are none."""

    def __init__(self, handle=Handle):
        self._handle = handle
        self.resources = []

    def start_actor(self, actor_class, _name, *args, resources=None):
        self.resources.append(resources)
        return self._handle(actor_class(*args))

    def stop_actor(self, actor):
        for call in actor.calls_begun:
            call.cancel()

    def share(self, value):
        return value

    async def addresses(self, _actor):
        return {}


class PruneAfter:
    def __init__(self, step):
        self.step, self.asked = step, 0

    def prunes(self, _trial_id):
        self.asked += 1
        return self.asked > self.step


def bound_for(parts, num_steps):
    """Tokens that leave so many steps beside what a trial takes without any."""
    evaluated = (parts.validation + parts.test).times(parts.growth) + parts.validation
    least = evaluated + parts.longest
    return int((least + parts.step.times(num_steps)).tokens)


class Driven:
    """One trial, driven again and again from its folder."""

    def __init__(self, plan, folder):
        self.plan, (self.trial,) = plan, plan.trials
        self.folder = folder
        self.journal = TrialJournal.recover(folder)

    async def run(self, budget=None, pruner=None, handle=Handle):
        self.journal = TrialJournal.recover(self.folder)
        self.cluster = cluster = InProcess(handle)
        site = Site(
            cluster=cluster,
            max_deaths=1,
            services=Services(cache=self.plan.run.cache, store="toy"),
            budget=Budget(budget or BudgetConfig(), [(self.trial, self.journal.summary)]),
            observers=(),
            servers=cluster,
            materials=MaterialsStore(cluster),
            pruner=pruner,
        )
        assert await site.budget.begin(self.trial.trial_id) is None
        await TrialDriver(self.trial, self.journal, site).run()
        return self.journal.summary

    def forget_the_test(self):
        """Leave the folder as a kill before the last event does."""
        path = self.folder / "state.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps(state | {"num_events": state["num_events"] - 1}))

    def kinds(self):
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [line.partition('"kind":"')[2].partition('"')[0] for line in lines]


@pytest.fixture
def driven(toy_plan, tmp_path):
    plan = toy_plan()
    (trial,) = plan.trials
    settings = replace(
        trial.settings, trainer=replace(trial.settings.trainer, num_iterations=4, patience=None)
    )
    plan = replace(plan, trials=(replace(trial, settings=settings),))
    return Driven(plan, tmp_path / "trial")


async def test_a_trial_runs_to_its_end(driven):
    summary = await driven.run()
    assert driven.kinds() == ["start", "step", "step", "step", "step", "finish"]
    assert (summary.status, summary.stopped, summary.test_looks) == ("finished", None, 1)


async def test_an_actor_gets_what_its_trial_asks_of_a_node(driven):
    driven.trial = replace(driven.trial, resources={"GPU": 0.5})
    await driven.run()
    assert driven.cluster.resources == [{"GPU": 0.5}]


async def test_a_pruned_trial_is_tested_and_says_so(driven):
    summary = await driven.run(pruner=PruneAfter(1))
    assert driven.kinds() == ["start", "step", "stop", "finish"]
    assert (summary.stopped, summary.steps) == ("pruned", 1)
    assert summary.test is not None


async def test_a_decision_to_stop_is_kept_by_a_driver_that_would_decide_otherwise(driven):
    await driven.run(pruner=PruneAfter(1))
    driven.forget_the_test()
    summary = await driven.run(pruner=None)
    assert driven.kinds() == ["start", "step", "stop", "finish"]
    assert summary.stopped == "pruned"


async def test_a_larger_budget_goes_on_from_where_training_was_and_counts_the_looks(driven):
    least = bound_for(driven.trial.parts, 1.2)
    summary = await driven.run(BudgetConfig(max_tokens=least))
    assert summary.stopped == "budget"
    assert summary.tokens <= least
    steps = summary.steps
    summary = await driven.run()
    assert (summary.stopped, summary.steps, summary.test_looks) == (None, 4, 2)
    assert steps < 4
    kinds = driven.kinds()
    assert kinds.count("step") == 4
    assert kinds[kinds.index("finish") + 1] == "reopen"


async def test_a_larger_budget_spares_a_killed_trial_the_test_that_it_was_about_to_make(driven):
    await driven.run(BudgetConfig(max_tokens=bound_for(driven.trial.parts, 1.2)))
    driven.forget_the_test()
    summary = await driven.run()
    assert (summary.stopped, summary.steps, summary.test_looks) == (None, 4, 1)
    kinds = driven.kinds()
    assert kinds[kinds.index("stop") + 1] == "reopen"


async def test_training_in_two_parts_ends_as_training_in_one(driven, toy_plan, tmp_path):
    least = bound_for(driven.trial.parts, 1.2)
    await driven.run(BudgetConfig(max_tokens=least))
    assert driven.journal.summary.stopped == "budget"
    await driven.run()
    whole = Driven(driven.plan, tmp_path / "whole")
    await whole.run()
    name = "network.json"
    assert (driven.folder / name).read_bytes() == (whole.folder / name).read_bytes()


async def test_no_budget_is_passed_by_more_than_the_calls_in_flight(driven):
    for part in (0.3, 0.6, 1.1, 1.7, 2.3):
        bound = bound_for(driven.trial.parts, part)
        other = Driven(driven.plan, driven.folder.with_name(f"part{part}"))
        summary = await other.run(BudgetConfig(max_tokens=bound))
        assert summary.tokens <= bound
        assert summary.test is not None


@pytest.mark.parametrize("factor", [0.01, 0.2])
async def test_a_trial_that_takes_more_than_expected_does_not_pass_its_bound(
    factor, toy_plan, tmp_path
):
    plan = toy_plan(trained=False)
    (trial,) = plan.trials
    whole = (await Driven(plan, tmp_path / "whole").run()).tokens
    expected = trial.parts
    parts = Parts(validation=expected.validation.times(factor), test=expected.test.times(factor))
    plan = replace(plan, trials=(replace(trial, parts=parts),))
    for part in (0.3, 0.6, 0.9):
        bound, other = int(part * whole), Driven(plan, tmp_path / f"{part}")
        with pytest.raises(BudgetError, match=rf"max_tokens={bound} .* larger budget goes on$"):
            await other.run(BudgetConfig(max_tokens=bound))
        summary = other.journal.summary
        assert summary.tokens <= bound
        assert summary.status in ("pending", "unfinished")
        assert summary.test_looks == 0
        summary = await other.run()
        assert (summary.status, summary.stopped, summary.test_looks) == ("finished", None, 1)


async def test_an_actor_that_is_lost_after_the_test_leaves_the_trial_finished(driven):
    summary = await driven.run(pruner=PruneAfter(1), handle=DiesAtClose)
    assert driven.kinds() == ["start", "step", "stop", "finish"]
    assert (summary.status, summary.stopped, summary.test_looks) == ("finished", "pruned", 1)


@pytest.fixture
def apart(driven, tmp_path):
    """The same trial with answers and a folder of its own."""
    run = replace(driven.plan.run, cache=CacheConfig(dir=str(tmp_path / "apart")))
    return Driven(replace(driven.plan, run=run), tmp_path / "apart" / "trial")


async def test_a_test_that_was_lost_is_paid_for_when_it_is_made_at_last(driven, apart):
    budget = BudgetConfig(max_tokens=bound_for(driven.trial.parts, 2.2))
    await driven.run(budget)
    driven.forget_the_test()
    await apart.run(budget)
    assert (await driven.run()).usage["paid_calls"] == (await apart.run()).usage["paid_calls"]


async def test_what_a_lost_attempt_paid_is_on_the_bill(driven, apart, monkeypatch):
    monkeypatch.setattr(LosesOneAnswer, "num_units", 0)
    summary = await driven.run(handle=LosesOneAnswer)
    whole = await apart.run()
    assert driven.journal.epoch == 2
    assert summary.usage == whole.usage
    assert summary.usage["paid_calls"] > 0


async def test_a_trial_that_has_stalled_asks_for_no_step(driven):
    trainer = replace(driven.trial.settings.trainer, num_iterations=50, patience=1)
    driven.trial = replace(driven.trial, settings=replace(driven.trial.settings, trainer=trainer))
    summary = await driven.run()
    assert summary.steps < 50
    kinds = driven.kinds()
    driven.forget_the_test()
    await driven.run(BudgetConfig(max_tokens=2 * summary.tokens))
    assert driven.kinds() == kinds
