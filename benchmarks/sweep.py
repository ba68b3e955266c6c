"""What a whole sweep takes, as a user starts it, beside what its trials take.

``python -m benchmarks.sweep busy [--slower F]``: 16 trials of two layers at once against an
endpoint of 256 slots (F times 40 ms a text and 10 ms a token written), which runs in this process:
the share of its slot-time that is used between the 5th and the 95th percentile of the starts of its
texts.

``python -m benchmarks.sweep many [--trials N]``: N one-step trials with the simulated model inside
the actors: CPU seconds of the driver a trial beside those of the actors, and the memory of both.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import psutil

from benchmarks.babble import Babble
from benchmarks.step import LATENCY_S, SECONDS_PER_TOKEN, slot_use
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer

SLOTS, NUM_TRIALS = 256, 16
LOOK_PAUSE_S = 0.5
BUSY = (
    "task=free_time", "network=dln2", f"seed=range(0,{NUM_TRIALS})", "trainer=paper",
    "trainer.batch_size=20", "trainer.num_prompts=20", "trainer.num_hidden=5",
    "trainer.num_iterations=2", "data.max_dev=50", "data.max_test=50", "baselines=[]",
    f"cluster.max_trials={NUM_TRIALS}", f"limits.max_concurrency={SLOTS}",
    "llm=openai_compatible", "llm.model=simulated",
)  # fmt: skip
MANY = (
    "task=triage", "network=dln1", "trainer=fast", "trainer.num_iterations=1",
    "trainer.batch_size=6", "trainer.num_prompts=4", "data.max_dev=10", "data.max_test=20",
    "llm=simulated", "cluster.max_trials=4",
)  # fmt: skip


@dataclass(slots=True)
class Seen:
    """The most that a driver and its actors were seen to take.

    Attributes:
        driver_cpu_s: CPU seconds of the driver.
        driver_mb: Its memory.
        actor_mb: Resident memory of the largest trainer actor, with what it shares.
        actor_cpu_s: CPU seconds of each trainer actor, by process.
        other_cpu_s: CPU seconds of each of Ray's other processes.
    """

    driver_cpu_s: float = 0.0
    driver_mb: float = 0.0
    actor_mb: float = 0.0
    actor_cpu_s: dict[int, float] = field(default_factory=dict)
    other_cpu_s: dict[int, float] = field(default_factory=dict)

    def look(self, driver: psutil.Process) -> None:
        """Read the process table."""
        self.driver_cpu_s = _cpu_s(driver)
        self.driver_mb = max(self.driver_mb, driver.memory_info().rss / 2**20)
        for child in driver.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "TrialActor" in " ".join(child.cmdline()) or child.pid in self.actor_cpu_s:
                    # Before it became an actor it was one of the others.
                    self.other_cpu_s.pop(child.pid, None)
                    self.actor_mb = max(self.actor_mb, child.memory_info().rss / 2**20)
                    self.actor_cpu_s[child.pid] = _cpu_s(child)
                else:
                    self.other_cpu_s[child.pid] = _cpu_s(child)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def run_sweep(*settings: str) -> tuple[Seen, float]:
    """Run a sweep in an empty folder and return what it took, and its seconds.

    Raises:
        RuntimeError: If it did not end well.
    """
    seen, started = Seen(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "orchestrator", "-m", *settings, "cache.dir=cache"]
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = await anyio.open_process(
                [*command, "out_dir=out", "cluster.dashboard_port=0"],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=_environment(),
            )
            await _watch(process, seen)
        if process.returncode != 0:
            raise RuntimeError(log.read_text()[-2000:])
    return seen, time.monotonic() - started


async def _watch(process: anyio.abc.Process, seen: Seen) -> None:
    driver = psutil.Process(process.pid)
    while process.returncode is None:
        try:
            await anyio.to_thread.run_sync(seen.look, driver)
        except psutil.NoSuchProcess:
            break
        with anyio.move_on_after(LOOK_PAUSE_S):
            await process.wait()
    await process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


async def busy(slower: float) -> None:
    """Measure how much of an endpoint many trials at once keep busy."""
    config = ServerConfig(
        slots=SLOTS,
        latency_s=slower * LATENCY_S,
        seconds_per_token=slower * SECONDS_PER_TOKEN,
    )
    server = SimulatedServer(Babble(), config)
    async with listen(server.build_app()) as address:
        seen, seconds = await run_sweep(*BUSY, f"llm.base_url={address}")
    used = slot_use(server.slots.spans, SLOTS)
    show(f"{NUM_TRIALS} trials at once, {len(server.slots.spans)} texts", seen, seconds)
    sys.stdout.write(f"slot-time used: {100 * used:.1f} %\n")


async def many(num_trials: int) -> None:
    """Measure what a driver takes for many small trials."""
    seen, seconds = await run_sweep(*MANY, f"seed=range(0,{num_trials})")
    show(f"{num_trials} one-step trials", seen, seconds)
    sys.stdout.write(f"driver CPU a trial: {seen.driver_cpu_s / num_trials:.3f} s\n")


def show(name: str, seen: Seen, seconds: float) -> None:
    """Print what a sweep took."""
    actors_s, others_s = (sum(of.values()) for of in (seen.actor_cpu_s, seen.other_cpu_s))
    sys.stdout.write(
        f"{name}: {seconds:.0f} s\n"
        f"driver: {seen.driver_cpu_s:.1f} CPU-s, up to {seen.driver_mb:.0f} MB\n"
        f"trainer actors: {actors_s:.1f} CPU-s, each up to {seen.actor_mb:.0f} MB\n"
        f"Ray's other processes: {others_s:.1f} CPU-s; this one: {time.process_time():.1f} CPU-s\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("busy", "many"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slower", type=float, default=1.0)
    options = parser.parse_args(arguments)
    if options.what == "busy":
        anyio.run(busy, options.slower)
    else:
        anyio.run(many, options.trials)


if __name__ == "__main__":
    main()
