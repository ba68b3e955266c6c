"""How reference points are computed while actors come and go."""

from __future__ import annotations

import pytest

from dln_core.errors import BudgetError
from dln_core.llm.allowance import Amount
from dln_core.trial import Services
from orchestrator.accounts import Exhausted, Needs
from orchestrator.baseline_driver import compute_baselines
from orchestrator.budget import Budget
from orchestrator.cluster.materials import MaterialsStore
from orchestrator.cluster.ray_cluster import ActorLostError
from orchestrator.comparison import baseline_of
from orchestrator.jobs import BaselineJob, open_jobs
from orchestrator.journal import Journal
from orchestrator.settings.schema import BudgetConfig
from orchestrator.summary import TrialSummary, tokens_of
from orchestrator.trial_driver import Site
from orchestrator.used_before import used_beside
from tests.orchestrator.test_trial_driver import Handle, InProcess, Method


class Lost(Handle):
    """An actor that does not answer any more."""

    @property
    def run(self):
        async def fail(*_args):
            raise ActorLostError("it was lost")

        return Method(fail, self.calls_begun)


class LosesTheFirst(InProcess):
    """A cluster that knows the names of its actors, also of one that it has lost sight of."""

    def __init__(self):
        super().__init__()
        self.names = []

    def start_actor(self, actor_class, name, *args, resources=None):
        assert name not in self.names
        self.names.append(name)
        actor = super().start_actor(actor_class, name, *args)
        return actor if self.names[1:] else Lost(actor)


@pytest.mark.parametrize("max_deaths", [0, 1])
async def test_a_lost_actor_is_replaced_under_another_name(toy_plan, max_deaths):
    plan = toy_plan()
    needs = Needs({"majority": Amount()})
    job = BaselineJob("b" * 12, "baselines triage", plan.trials[0].settings, needs)
    cluster = LosesTheFirst()
    site = Site(
        cluster=cluster,
        max_deaths=max_deaths,
        services=Services(cache=plan.run.cache, store="toy"),
        servers=cluster,
        materials=MaterialsStore(cluster),
        budget=Budget(BudgetConfig(), []),
        observers=(),
    )
    with Journal.locked(plan.out_dir) as journal:
        if max_deaths == 0:
            with pytest.raises(ActorLostError):
                await compute_baselines(job, ["majority"], journal, site)
        else:
            await compute_baselines(job, ["majority"], journal, site)
        rows = journal.read_baselines(job.baseline_id)
    assert (rows is not None) == (max_deaths > 0)


NAMES = ["majority", "initial", "few_shot", "cot"]


def jobs_of(budget, plan):
    plan.run.budget = budget
    summaries = {trial.trial_id: TrialSummary() for trial in plan.trials}
    return open_jobs(plan, Journal(plan.out_dir), summaries)


class Points:
    """The reference points of a plan, computed again and again in its folder."""

    def __init__(self, toy_plan):
        self.plan = toy_plan(baselines=NAMES)
        self.budget = Budget(BudgetConfig(), [])

    async def run(self, max_tokens=None, factor=1.0):
        """Compute what is missing, expecting so many times what is estimated."""
        config = BudgetConfig(max_tokens=max_tokens)
        job = self.job(config)
        expected = {name: each.times(factor) for name, each in job.expected.expected.items()}
        job = BaselineJob(job.baseline_id, job.name, job.settings, Needs(expected))
        self.budget = Budget(config, [], before=self.used())  # as at the start of a run
        self.budget.open(job.key, job.expected)
        exhausted = await self.budget.begin(job.key)
        if exhausted is not None:
            return exhausted
        with Journal.locked(self.plan.out_dir) as journal:
            await compute_baselines(job, self.plan.run.baselines, journal, self.site())
        return None

    def site(self):
        cluster = InProcess()
        return Site(
            cluster=cluster,
            max_deaths=0,
            services=Services(cache=self.plan.run.cache, store="toy"),
            servers=cluster,
            materials=MaterialsStore(cluster),
            budget=self.budget,
            observers=(),
        )

    def job(self, config):
        return jobs_of(config, self.plan)[0]

    def used(self):
        return used_beside(Journal(self.plan.out_dir), {self.trial.trial_id})

    def rows(self):
        return Journal(self.plan.out_dir).read_baselines(baseline_of(self.plan, self.trial)) or []

    @property
    def trial(self):
        return self.plan.trials[0]

    def names(self):
        return [row["baseline"] for row in self.rows()]


async def test_what_is_set_aside_for_reference_points_covers_what_they_take(toy_plan):
    points = Points(toy_plan)
    expected = points.job(BudgetConfig(max_tokens=10**6)).expected
    assert list(expected.expected) == NAMES
    await points.run()
    assert 0 < tokens_of(points.rows()[0]) <= expected.of(NAMES).tokens
    # Several examples or thoughts more than a bare prompt.
    assert expected.of(["few_shot"]).tokens > 2 * expected.of(["initial"]).tokens
    assert expected.of(["majority"]).tokens == 0


async def test_reference_points_stop_at_the_budget_and_keep_what_is_done(toy_plan):
    points, bound = Points(toy_plan), 3000
    told = r"budget\.max_tokens=3000 does not leave what .*cot may take; .* larger budget goes on$"
    with pytest.raises(BudgetError, match=told):
        await points.run(bound, factor=0.1)  # they turn out to take more than expected
    assert points.names()[:2] == ["majority", "initial"]
    assert "cot" not in points.names()
    assert tokens_of(points.rows()[0]) <= bound


async def test_a_raised_budget_completes_reference_points_that_were_stopped(toy_plan):
    points, whole = Points(toy_plan), Points(toy_plan)
    with pytest.raises(BudgetError):
        await points.run(3000, factor=0.1)
    done, used = points.names(), tokens_of(points.rows()[0])
    assert list(points.job(BudgetConfig(max_tokens=1)).expected.expected) == NAMES[len(done) :]
    assert await points.run(3000) == Exhausted("budget.max_tokens", 3000)
    assert points.names() == done
    await points.run(10**6)
    assert points.names() == NAMES
    assert isinstance(points.job(BudgetConfig()), type(points.trial))
    rows = points.rows()
    assert tokens_of(rows[0]) > used
    assert all(row["usage"] == rows[0]["usage"] for row in rows)
    paid = sum(counts["paid_calls"] for counts in rows[0]["usage"].values())
    whole.plan.out_dir.rename(whole.plan.out_dir.with_name("first"))
    whole.plan.run.cache.mode = "off"
    whole.plan.run.cache.dir += "2"
    await whole.run()
    assert paid == sum(counts["paid_calls"] for counts in whole.rows()[0]["usage"].values())
    scores = [[row["accuracy"] for row in each.rows()] for each in (points, whole)]
    assert scores[0] == scores[1]


async def test_what_points_used_that_have_no_row_is_known_to_the_next_run(toy_plan):
    points = Points(toy_plan)
    points.plan.run.baselines[:] = ["few_shot"]
    with pytest.raises(BudgetError):
        await points.run(500, factor=0.01)
    assert points.rows() == []
    assert 0 < points.used().tokens <= 500


async def test_points_that_take_more_than_expected_get_more_where_there_is_more(toy_plan):
    points = Points(toy_plan)
    await points.run(10**6, factor=0.2)
    assert points.names() == NAMES
