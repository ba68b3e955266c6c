"""Sweeps of the simulated model, recorded as a driver does it but in this process, without Ray."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from dln_core.baselines.run import run_baselines
from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
)
from dln_core.trial import Services, Trial
from orchestrator.comparison import SweepResults, baseline_of, gather
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial, make_plan
from orchestrator.settings.schema import RunConfig, TrackingConfig

THOUGHTS = LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=32)
NETWORKS: Mapping[str, NetworkConfig] = {
    "zero_shot": NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)]),
    "dln1": NetworkConfig(name="dln1", layers=[LayerConfig()]),
    "dln2": NetworkConfig(name="dln2", layers=[THOUGHTS, LayerConfig(reads=["input", "thoughts"])]),
}


def plan_sweep(
    folder: Path,
    tasks: Sequence[str],
    networks: Sequence[str],
    seeds: Sequence[int],
    **run: Any,
) -> Plan:
    """Plan a sweep whose files stay within a folder; other settings can be replaced."""
    settings: dict[str, Any] = {
        "llm": LLMConfig(provider="simulated", model="simulated"),
        "tracking": TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db"),
        "trainer": TrainerConfig(num_iterations=3, batch_size=6, num_prompts=4, num_hidden=2),
        "data": DataConfig(max_dev=20, max_test=40),
        "cache": CacheConfig(dir=str(folder / "cache")),
        "sweep": "recorded",
        "out_dir": str(folder / "out"),
    } | run
    return make_plan(
        [
            RunConfig(task=TaskConfig(name=task), network=NETWORKS[network], seed=seed, **settings)
            for task in tasks
            for network in networks
            for seed in seeds
        ]
    )


async def record_sweep(plan: Plan) -> SweepResults:
    """Run the trials and reference points of a plan and record them; return its results."""
    with Journal.locked(plan.out_dir) as journal:
        services = Services(cache=plan.run.cache, store=journal.id)
        for trial in plan.trials:
            key = baseline_of(plan, trial)
            if journal.read_baselines(key) is None:
                journal.write_baselines(key, await run_baselines(trial.settings, services))
            await _record(journal, trial, services)
    return results_of(plan)


def results_of(plan: Plan) -> SweepResults:
    """Read the results of a plan from its journals."""
    journal = Journal(plan.out_dir)
    summaries = {trial.trial_id: journal.read(trial.trial_id).summary for trial in plan.trials}
    return gather(plan, journal, summaries)


async def _record(journal: Journal, trial: PlannedTrial, services: Services) -> None:
    record = journal.recover(trial.trial_id)
    epoch = record.begin(trial.settings)
    async with Trial.open(trial.settings, services) as opened:
        state, is_done = None, False
        while not is_done:
            advance = await opened.advance(state)
            stamped = advance.event | {"epoch": epoch, "time": time.time()}
            await anyio.to_thread.run_sync(record.append, stamped, advance.state)
            state, is_done = advance.state, advance.done
