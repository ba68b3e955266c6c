"""How reference points are computed while actors come and go."""

from __future__ import annotations

import pytest

from dln_core.llm.allowance import Amount
from dln_core.trial import Services
from orchestrator.baseline_driver import compute_baselines
from orchestrator.budget import Budget
from orchestrator.cluster.materials import MaterialsStore
from orchestrator.cluster.ray_cluster import ActorLostError
from orchestrator.jobs import BaselineJob
from orchestrator.journal import Journal
from orchestrator.settings.schema import BudgetConfig
from orchestrator.trial_driver import Site
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
    job = BaselineJob("b" * 12, "baselines triage", plan.trials[0].settings, Amount())
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
