"""What recording a sweep in MLflow costs the driver.

First a sweep of many trials is recorded from its journals into a new SQLite store: seconds of the
writer, and CPU milliseconds an event.  Then one trial of two layers is trained against a simulated
endpoint over HTTP (40 ms a text and 10 ms a token written): the writer's CPU time as a share of the
steps that it records.

Run from the root of the repository: ``python -m benchmarks.tracking``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import yaml

from dln_core.config import (
    CacheConfig,
    DataConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
)
from dln_core.config.reading import config_from
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from dln_core.llm.simulated.worlds import InContextReader
from dln_core.trial import Services, Trial
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial, make_plan
from orchestrator.settings.schema import RunConfig, TrackingConfig
from orchestrator.tracking import Tracker

CONF = Path(__file__).parents[1] / "conf"
LATENCY_S, SECONDS_PER_TOKEN, SLOTS = 0.04, 0.01, 32


@dataclass(frozen=True, slots=True)
class Cost:
    """Time that a piece of work took: on the clock, and of this process's CPUs."""

    seconds: float
    cpu_s: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> Cost:
        """Do the work and measure it."""
        started, cpu_started = time.perf_counter(), time.process_time()
        work()
        return cls(time.perf_counter() - started, time.process_time() - cpu_started)


def plan_of(folder: Path, seeds: Sequence[int], llm: LLMConfig, steps: int) -> Plan:
    """Plan trials of two layers, one a seed."""
    trainer = config_from(TrainerConfig, _settings("trainer/paper") | {"num_iterations": steps})
    return make_plan(
        [
            RunConfig(
                task=TaskConfig(name="triage"),
                network=config_from(NetworkConfig, _settings("network/dln2")),
                trainer=trainer,
                data=DataConfig(max_dev=40, max_test=40),
                llm=llm,
                cache=CacheConfig(mode="off"),
                seed=seed,
                sweep="benchmark",
                out_dir=str(folder / "out"),
                tracking=TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"),
            )
            for seed in seeds
        ]
    )


def _settings(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return values


async def events_of(trial: PlannedTrial, base_url: str, folder: Path) -> list[dict[str, Any]]:
    """Train a trial against an endpoint and return what its journal would hold."""
    settings = trial.settings
    settings.llm.base_url = base_url
    events, state, done = [], None, False
    # No answer of an earlier run may be found again.
    services = Services(cache=CacheConfig(mode="off", dir=str(folder)))
    async with Trial.open(settings, services) as opened:
        while not done:
            advance = await opened.advance(state)
            state, done = advance.state, advance.done
            events.append({**advance.event, "epoch": 1, "time": time.time()})
    return events


async def train(plan: Plan) -> list[dict[str, Any]]:
    """Train the plan's first trial against a simulated endpoint."""
    config = ServerConfig(slots=SLOTS, latency_s=LATENCY_S, seconds_per_token=SECONDS_PER_TOKEN)
    server = SimulatedServer(InContextReader(), config)
    async with listen(server.build_app(), port=0) as address:
        return await events_of(plan.trials[0], address, plan.out_dir)


def write_journal(journal: Journal, trial: PlannedTrial, events: list[dict[str, Any]]) -> None:
    """Write a trial's journal at once, without waiting for the disk at each event."""
    folder = journal.folder(trial.trial_id)
    folder.mkdir(parents=True)
    lines = [json.dumps(event) + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines))
    (folder / "network.json").write_text(json.dumps(events[-1]["best_network"]))
    saved = {"epoch": 1, "num_events": len(events), "state": {}}
    (folder / "state.json").write_text(json.dumps(saved))


def stretched(events: list[dict[str, Any]], num_steps: int) -> list[dict[str, Any]]:
    """Repeat the steps of a trial until there are so many."""
    start, *steps, finish = events
    repeated = [
        steps[index % len(steps)] | {"step": index + 1, "time": start["time"] + index + 1}
        for index in range(num_steps)
    ]
    ended = {"step": num_steps, "time": start["time"] + num_steps + 1}
    return [start, *repeated, finish | ended]


def record(plan: Plan, events: list[dict[str, Any]]) -> tuple[Cost, Cost]:
    """Record trials that all had the same events, in a store that is open.

    Returns:
        The cost of the first trial, event by event as in a running sweep, and that of the others,
        trial by trial as a store catches up, with the best network and the sweep's own run.
    """
    with Journal.locked(plan.out_dir) as journal:
        for trial in plan.trials:
            write_journal(journal, trial, events)
        tracker = Tracker(plan, journal)
        journals = {trial.trial_id: journal.read(trial.trial_id) for trial in plan.trials}
        # The first event pays for what is imported and opened once.
        tracker.catch_up(plan.trials[0], 1)

        def event_by_event() -> None:
            for num_events in range(2, len(events) + 1):
                tracker.catch_up(plan.trials[0], num_events)

        return Cost.of(event_by_event), Cost.of(lambda: tracker.complete(journals))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    llm = LLMConfig(provider="openai_compatible", model="simulated", base_url="http://-/v1")
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), [13], llm, steps=3)
        events = anyio.run(train, plan)
        steps = [event for event in events if event["kind"] == "step"]
        step_s = sum(event["seconds"] for event in steps) / len(steps)
    with tempfile.TemporaryDirectory() as folder:
        # One more, which is recorded event by event.
        plan = plan_of(Path(folder), range(options.trials + 1), llm, options.steps)
        live, caught_up = record(plan, stretched(events, options.steps))
    cpu_s = live.cpu_s / (options.steps + 1)
    print(f"an event of a running sweep: {1000 * cpu_s:.0f} ms of CPU")
    print(f"a step of {step_s:.1f} s: {100 * cpu_s / step_s:.2f} % of it")
    print(f"{options.trials} trials of {options.steps} steps that were not recorded before:")
    print(f"{caught_up.cpu_s:.0f} s of CPU, {caught_up.seconds:.0f} s on the clock")


if __name__ == "__main__":
    main()
