"""Does the design hold for 10,000 trials on 1,000 actors, and what gives way first?

A model in virtual time: the limiter and its clients are the real ones; what they cost, and what the
driver does, takes the CPU time that is measured on this machine first.  A trial has three units of
work (first validation, one step, test) of four calls each, and a call takes 1 to 3 seconds.  The
limiter and the driver do one thing at a time; their columns are the part of the time in which they
do anything.  Actors are thought to have machines enough.
Run from the root of the repository: ``python -m benchmarks.scale``; it takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LimitsConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.llm.limits import Cost, Outcome
from dln_core.trial import Services, Trial
from orchestrator.cluster.ray_cluster import Cluster
from orchestrator.cluster.ray_cluster import connect as connect_cluster
from orchestrator.files import to_json
from orchestrator.limiter.client import ClusterLimiter
from orchestrator.limiter.messages import Allotment, Ask, Ended, Report
from orchestrator.limiter.remote import LimiterActor
from orchestrator.limiter.server import SharedLimits
from orchestrator.settings.schema import ClusterConfig
from orchestrator.trial_journal import TrialJournal
from tests.virtual_time import run_virtually

NUM_TRIALS, NUM_ACTORS = 10_000, 1000
UNITS, CALLS = 3, 4
LATENCY_S = (1.0, 3.0)
WAY_S = 0.001
NUM_REPORTS, REPORTS_AT_ONCE = 4000, 16
NUM_STARTS, NUM_EVENTS = 8, 300
CALL = Cost(kind="call", num_calls=1, num_texts=1, tokens=500)
ENDPOINTS = {
    "60,000 requests a minute": LimitsConfig(requests_per_minute=60_000, max_concurrency=None),
    "2,000 texts in flight": LimitsConfig(max_concurrency=2000),
}
ROW = "{:<26}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}"
HEADINGS = ("endpoint", "actors", "trials", "seconds", "used", "limiter", "driver")


@dataclass(frozen=True, slots=True)
class Costs:
    """What this machine takes for the parts of a sweep, in CPU seconds.

    Attributes:
        report_s: The limiter for a report of one of a thousand clients.
        start_s: The driver for the start of an actor.
        unit_s: The driver for a unit of work: reading it, and writing it to the journal.
        event_bytes: Size of a unit of work as JSON.
    """

    report_s: float
    start_s: float
    unit_s: float
    event_bytes: int


class IdleActor:
    """Does nothing; its start is what costs."""

    async def ready(self) -> None:
        """Answer once the process is there."""


async def measure_costs() -> Costs:
    """Measure the parts on a cluster of this machine."""
    with connect_cluster(ClusterConfig(max_trials=NUM_STARTS, dashboard_port=0)) as cluster:
        report_s = await _measure_report(cluster)
        start_s = await _measure_start(cluster)
    unit_s, event_bytes = await _measure_unit()
    return Costs(report_s, start_s, unit_s, event_bytes)


async def _measure_report(cluster: Cluster) -> float:
    limiter = cluster.start_actor(LimiterActor, "limiter", "nowhere")
    limits = LimitsConfig(requests_per_minute=60_000)
    ended = (Ended(1, 1.0, 0.0),) * CALLS

    async def report(first: int) -> None:
        for client in range(first, NUM_REPORTS, REPORTS_AT_ONCE):
            report = Report(
                client=str(client % NUM_ACTORS),
                limits=limits,
                asks=(Ask(1, 1, 500.0),) * CALLS,
                answered=ended,
            )
            await limiter.exchange.remote(report)

    async def cpu_s() -> float:
        used: float = await limiter.__ray_call__.remote(lambda _: time.process_time())
        return used

    before = await cpu_s()
    async with anyio.create_task_group() as tasks:
        for first in range(REPORTS_AT_ONCE):
            tasks.start_soon(report, first)
    return (await cpu_s() - before) / NUM_REPORTS


async def _measure_start(cluster: Cluster) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    for number in range(NUM_STARTS):
        actor = cluster.start_actor(IdleActor, f"idle {number}")
        await actor.ready.remote()
        cluster.stop_actor(actor)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / NUM_STARTS


async def _measure_unit() -> tuple[float, int]:
    settings = TrialSettings(
        task=TaskConfig(name="triage"),
        network=NetworkConfig(name="dln1", layers=[LayerConfig()]),
        trainer=TrainerConfig(num_iterations=1),
        data=DataConfig(max_dev=50, max_test=50),
        llm=LLMConfig(provider="simulated", model="simulated"),
    )
    with tempfile.TemporaryDirectory() as folder:
        services = Services(cache=CacheConfig(mode="off", dir=folder))
        async with Trial.open(settings, services) as trial:
            start = await trial.advance(None)
            step = await trial.advance(start.state)
        stamp = {"epoch": 1, "time": 0.0}
        answer = to_json({"state": step.state, "event": step.event | stamp})
        journal = TrialJournal.recover(Path(folder, "trial"))
        journal.begin(settings)
        before = time.process_time()
        for _ in range(NUM_EVENTS):
            values = json.loads(answer)
            journal.append(values["event"], values["state"])
        return (time.process_time() - before) / NUM_EVENTS, len(answer)


@dataclass(slots=True)
class Desk:
    """Somebody who does one thing at a time.

    Attributes:
        busy_s: Seconds in which anything was done.
    """

    busy_s: float = 0.0
    _turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def work(self, seconds: float) -> None:
        """Wait for the turn and work for so long."""
        async with self._turn:
            await anyio.sleep(seconds)
        self.busy_s += seconds


class Model:
    """A sweep in virtual time.

    Args:
        limits: What the endpoint allows.
        costs: What the parts take.
        num_actors: Trials at once.
        num_trials: Trials of the sweep.
    """

    def __init__(
        self, limits: LimitsConfig, costs: Costs, num_actors: int, num_trials: int
    ) -> None:
        self._limits = limits
        self._costs = costs
        self._shared = SharedLimits(clock=anyio.current_time)
        self._left = iter(range(num_trials))
        self._rng = random.Random(13)
        self.limiter, self.driver = Desk(), Desk()
        self._num_actors = num_actors
        self.num_calls = 0
        self.took_s = 0.0
        self.seconds_in_flight = 0.0

    async def run(self) -> None:
        """Run all trials."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self._num_actors):
                tasks.start_soon(self._run_trials)
        self.took_s = anyio.current_time()

    async def _exchange(self, report: Report) -> Allotment:
        await anyio.sleep(WAY_S)
        await self.limiter.work(self._costs.report_s)
        return self._shared.exchange(report)

    async def _run_trials(self) -> None:
        for _ in self._left:
            await self.driver.work(self._costs.start_s)
            client = ClusterLimiter(self._exchange, self._limits)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.run)
                for _ in range(UNITS):
                    await self._run_unit(client)
                    await self.driver.work(self._costs.unit_s)
                tasks.cancel_scope.cancel()
            await client.leave()

    async def _run_unit(self, client: ClusterLimiter) -> None:
        async with anyio.create_task_group() as calls:
            for _ in range(CALLS):
                calls.start_soon(self._call, client)

    async def _call(self, client: ClusterLimiter) -> None:
        lease = await client.acquire(CALL)
        took_s = self._rng.uniform(*LATENCY_S)
        await anyio.sleep(took_s)
        self.seconds_in_flight += took_s
        self.num_calls += 1
        lease.settle(Outcome.answered, CALL.tokens)

    def row(self, name: str) -> str:
        """Write one line of the table."""
        per_minute = self._limits.requests_per_minute
        if per_minute is not None:
            used = self.num_calls / self.took_s * 60 / per_minute
        else:
            used = self.seconds_in_flight / self.took_s / (self._limits.max_concurrency or 1)
        return ROW.format(
            name,
            self._num_actors,
            self.num_calls // (UNITS * CALLS),
            f"{self.took_s:,.0f}",
            f"{100 * used:.0f} %",
            f"{100 * self.limiter.busy_s / self.took_s:.0f} %",
            f"{100 * self.driver.busy_s / self.took_s:.0f} %",
        )


async def simulate(name: str, costs: Costs, num_actors: int, num_trials: int) -> str:
    """Run a sweep against an endpoint and write one line of the table."""
    model = Model(ENDPOINTS[name], costs, num_actors, num_trials)
    await model.run()
    return model.row(name)


def main(num_trials: int, actors: Sequence[int]) -> None:
    """Measure the costs and print the table."""
    costs = anyio.run(measure_costs)
    print(
        f"measured: {1e3 * costs.report_s:.2f} ms a report, {1e3 * costs.start_s:.1f} ms of the "
        f"driver a start, {1e3 * costs.unit_s:.1f} ms a unit of work of {costs.event_bytes:,} bytes"
    )
    print(ROW.format(*HEADINGS))
    for name in ENDPOINTS:
        for num_actors in actors:
            print(run_virtually(simulate, name, costs, num_actors, num_trials), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--actors", type=int, nargs="+", default=[NUM_ACTORS])
    options = parser.parse_args()
    main(options.trials, options.actors)
