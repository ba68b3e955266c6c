"""Limiters as actors, on a real cluster against a real server."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from benchmarks.cluster_limits import BusyActor, measure
from dln_core.config import LimitsConfig, LLMConfig
from dln_core.llm.simulated.server import ServerConfig
from dln_core.trial import Services
from orchestrator.actor import Order, TrialActor
from orchestrator.cluster.materials import Materials
from orchestrator.cluster.ray_cluster import Cluster, connect
from orchestrator.limiter.remote import NAMESPACE, RemoteLimiters, limiter_name
from orchestrator.metrics import COUNTERS, GAUGES, SweepMetrics
from orchestrator.resuming import Begun
from orchestrator.settings.schema import ClusterConfig
from orchestrator.summary import TrialSummary
from tests.core.llm.toys import FixedWorld
from tests.servers import serve

ENDPOINT = LLMConfig(
    provider="openai_compatible", model="simulated", base_url="http://models.example/v1"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connect(ClusterConfig(max_trials=10, dashboard_port=0)) as connected:
        yield connected


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(120):
        while True:
            if await condition():
                return
            await anyio.sleep(0.5)


def exported() -> str:
    import ray

    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
async def test_eight_actors_use_a_rate_together_evenly_and_without_refusals(cluster, toy_plan):
    plan = toy_plan()
    trial = plan.trials[0]
    services = Services(cache=plan.run.cache, store="toy", limiters=RemoteLimiters())
    materials = Materials.read(trial.settings)
    actor = cluster.start_actor(
        TrialActor, "toy", trial.name, 1, trial.settings, services, Begun(), materials
    )
    actor.hold.remote({})
    await actor.advance.remote(Order(state="null"))
    sweep = SweepMetrics("toy sweep", {trial.trial_id: TrialSummary(), "b": TrialSummary()})
    sweep.moved(trial, "starting")

    found = await measure(cluster, warm_up_s=3, measured_s=15)
    assert found.refused <= 0.01
    assert found.least_share >= 0.5
    assert found.used <= 1.05

    async def are_exported() -> bool:
        text = await anyio.to_thread.run_sync(exported)
        return "ray_dln_step{" in text and "ray_dln_trials{" in text

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweep.run)
        await until(are_exported)
        tasks.cancel_scope.cancel()
    lines = [line for line in exported().splitlines() if line.startswith("ray_dln_")]
    tags = ('task="triage"', 'network="dln1"', 'seed="13"')
    of_trial = [line.partition("{")[0] for line in lines if all(tag in line for tag in tags)]
    shown = {f"ray_dln_{name}" for name in GAUGES} | {f"ray_dln_{name}_total" for name in COUNTERS}
    # A simulated model costs nothing and refuses nothing.
    absent = {"ray_dln_overloads_total", "ray_dln_cost_usd_total"}
    assert shown - absent <= set(of_trial) <= shown
    states = {
        line.partition('state="')[2].partition('"')[0]: float(line.split()[-1])
        for line in lines
        if line.startswith("ray_dln_trials{")
    }
    assert states == {"waiting": 1, "starting": 1, "running": 0, "finished": 0, "failed": 0}
    cluster.stop_actor(actor)


@pytest.mark.slow
async def test_a_limiter_that_is_killed_comes_back_and_the_cap_holds_all_along(cluster):
    import ray

    limits = LimitsConfig(max_concurrency=8)
    async with serve(FixedWorld(), config=ServerConfig(latency_s=0.2)) as server:
        actors = [
            cluster.start_actor(BusyActor, f"busy {number}", number, server.base_url, limits)
            for number in range(3)
        ]
        for actor in actors:
            actor.run.remote(600)
        with anyio.fail_after(120):
            await server.until(lambda: server.num_requests >= 50)
        config = replace(ENDPOINT, base_url=server.base_url)
        name = limiter_name(config, ray.get_runtime_context().get_node_id())
        limiter = ray.get_actor(name, namespace=NAMESPACE)
        killed = await limiter.__ray_call__.remote(lambda _: os.getpid())
        os.kill(killed, signal.SIGKILL)

        async def knows_all_again() -> bool:
            try:
                return "3 clients" in await limiter.__ray_call__.remote(repr)
            except ray.exceptions.RayActorError:
                return False

        await until(knows_all_again)
        assert await limiter.__ray_call__.remote(lambda _: os.getpid()) != killed
        cluster.stop_actor(actors[0])
        num_before = server.num_requests
        with anyio.fail_after(120):
            await server.until(lambda: server.num_requests >= num_before + 200)
        assert server.max_in_flight == 8
        for actor in actors[1:]:
            cluster.stop_actor(actor)


def test_limiters_belong_to_an_endpoint_and_the_name_of_a_key(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-secret")
    other_key = replace(ENDPOINT, api_key_env="OTHER_KEY")
    other_model = replace(ENDPOINT, model="other", base_url="http://models.example/v1/")
    assert limiter_name(ENDPOINT, "a") == limiter_name(other_model, "b")
    assert limiter_name(ENDPOINT, "a") != limiter_name(other_key, "a")
    local = replace(ENDPOINT, base_url="http://127.0.0.1:8000/v1")
    assert limiter_name(local, "a") != limiter_name(local, "b")
