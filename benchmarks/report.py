"""The report of a large sweep: how long it takes to build and to open, and in how much memory.

A small simulated sweep of two layers is run and recorded; its events are copied to 500 trials of
20 steps, ten tasks by five methods by ten seeds, in which some answers are turned over at random.
The report is built in a process of its own, as ``action=report`` builds it, and opened in headless
Chromium.

Run from the root of the repository: ``python -m benchmarks.report``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from dln_core.config import TrainerConfig
from orchestrator.comparison import baseline_of
from orchestrator.files import to_json, write_atomic
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.results import report
from tests.browser import CHROMIUM, browser_page
from tests.recorded import plan_sweep, record_sweep

TASKS, METHODS, SEEDS, STEPS = 10, 5, 10, 20
NUM_OPENINGS = 3


def _pattern(folder: Path) -> Plan:
    trainer = TrainerConfig(num_iterations=STEPS, batch_size=6, num_prompts=10, num_hidden=2)
    return plan_sweep(folder, ["triage"], ["dln2"], [1], trainer=trainer)


def _copies(pattern: PlannedTrial) -> Iterator[PlannedTrial]:
    for number in range(TASKS * METHODS * SEEDS):
        task, method, seed = np.unravel_index(number, (TASKS, METHODS, SEEDS))
        settings = deepcopy(pattern.settings)
        settings.task.name, settings.seed = f"task {task + 1}", int(seed) + 1
        settings.network.name = f"method {method + 1}"
        name = f"{settings.task.name} {settings.network.name} {settings.seed}"
        yield replace(pattern, trial_id=f"{number:016x}", name=name, settings=settings)


def _varied(events: list[dict[str, Any]], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Copies of events, with other figures and some answers turned over."""
    for event in events:
        copied = dict(event)
        if "metrics" in event:
            factor = 1.0 + 0.1 * rng.normal()
            copied["metrics"] = {name: factor * x for name, x in event["metrics"].items()}
        if event["kind"] == "finish":
            turned = rng.random(len(event["predictions"])) < 0.2
            copied["predictions"] = [
                item | {"correct": item["correct"] != bool(turn)}
                for item, turn in zip(event["predictions"], turned, strict=True)
            ]
            num_correct = sum(item["correct"] for item in copied["predictions"])
            share = num_correct / len(turned)
            copied["test"] = event["test"] | {"num_correct": num_correct, "accuracy": share}
        yield copied


async def _multiplied(folder: Path) -> Plan:
    """Record a small sweep and return the plan of its many copies."""
    small = _pattern(folder)
    await record_sweep(small)
    (trial,) = small.trials
    source = small.out_dir / "trials" / trial.trial_id
    events = [json.loads(line) for line in (source / "events.jsonl").read_text().splitlines()]
    state = json.loads((source / "state.json").read_text())
    plan = replace(small, trials=tuple(_copies(trial)), digests={})
    digest = small.digests[trial.trial_id]
    plan.digests.update({copy.trial_id: digest for copy in plan.trials})
    journal, rng = Journal(plan.out_dir), np.random.default_rng(0)
    rows = journal.read_baselines(baseline_of(small, trial)) or []
    for copy in plan.trials:
        target = journal.folder(copy.trial_id)
        target.mkdir()
        lines = [to_json(event) + "\n" for event in _varied(events, rng)]
        (target / "events.jsonl").write_text("".join(lines), encoding="utf-8")
        write_atomic(target / "state.json", to_json(state))
        key = baseline_of(plan, copy)
        if journal.read_baselines(key) is None:
            named = [row | {"task": copy.settings.task.name} for row in rows]
            journal.write_baselines(key, named)
    return plan


def _build(plan: Plan, answers: Any) -> None:
    started = time.perf_counter()
    report(plan)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answers.put((time.perf_counter() - started, time.process_time(), peak_mb))


async def _open(path: Path) -> list[float]:
    times = []
    for _ in range(NUM_OPENINGS):
        async with browser_page("about:blank") as page:
            started = time.perf_counter()
            await page.driver.goto(f"file://{path}", wait_until="load")
            # Two frames later the first screen is painted.
            frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
            await page.driver.evaluate(frames)
            times.append(time.perf_counter() - started)
    return times


async def main(keep: Path | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        plan = await _multiplied(keep or Path(temporary))
        folder = plan.out_dir / "trials"
        size_mb = sum(path.stat().st_size for path in folder.glob("*/events.jsonl")) / 1e6
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        builder = context.Process(target=_build, args=(plan, answers))
        builder.start()
        build_s, cpu_s, peak_mb = await anyio.to_thread.run_sync(answers.get)
        builder.join()
        page = plan.out_dir / "report.html"
        print(f"{len(plan.trials)} trials x {STEPS} steps, journals of {size_mb:.0f} MB")
        print(
            f"built in {build_s:.1f} s, {cpu_s:.1f} s of CPU with imports, {peak_mb:.0f} MB at most"
        )
        print(f"report.html: {page.stat().st_size / 1e6:.1f} MB")
        if CHROMIUM is None:
            print("not opened: no Chromium is installed")
            return
        opened = ", ".join(f"{seconds:.2f}" for seconds in await _open(page))
        print(f"opened and painted in {opened} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder that the sweep is left in")
    anyio.run(main, parser.parse_args().keep)
