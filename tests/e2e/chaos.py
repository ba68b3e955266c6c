"""Kills parts of a sweep under way and compares what comes out with an undisturbed run.

Run: ``python -m tests.e2e.chaos [--moments N] [--kinds …]``: each part is killed at N random
moments, all in a trial that is under way; the table says how many texts were asked for again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.cluster.ray_cluster import free_port
from tests.e2e.counting_server import num_repeats

DEADLINE_S = 300
OUTAGE_S = 3.0
# Texts that may be in flight at once, and so be asked for again after a kill.
MAX_CONCURRENCY = 12
TIMES_AND_PAYMENTS = (
    "seconds", "cost_usd", "paid_calls", "paid_tokens_prompt", "paid_tokens_completion",
)  # fmt: skip
SWEEP = (
    # Processes that ask for the same texts at the same moment both send them: there are none such.
    "baselines=[majority,initial,few_shot]",
    "-m", "task=triage,routing", "network=dln1,dln2", "seed=13", "trainer=fast",
    "trainer.num_iterations=5", "trainer.batch_size=6", "trainer.num_prompts=4",
    "trainer.num_hidden=2", "data.max_dev=10", "data.max_test=20", "cluster.max_trials=2",
    "llm=openai_compatible", "llm.model=simulated", f"limits.max_concurrency={MAX_CONCURRENCY}",
    "limits.max_attempts=50", "out_dir=out", "cache.dir=cache",
)  # fmt: skip


@dataclass(slots=True)
class Endpoint:
    """The language model: it can be killed and comes back at the same address."""

    log: Path
    port: int
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Serve; returns once it does."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.counting_server", str(self.port), str(self.log)],
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("http")

    def kill(self) -> None:
        """End it without notice."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass(slots=True)
class Sweep:
    """A sweep in a folder of its own, started as a user starts it.

    Attributes:
        folder: Working folder.
        endpoint: Its language model.
        settings: What is added to the command.
    """

    folder: Path
    endpoint: Endpoint
    settings: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """Start the driver."""
        address = f"llm.base_url=http://127.0.0.1:{self.endpoint.port}/v1"
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *SWEEP, address, *self.settings],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
        )

    def finish(self, driver: subprocess.Popen[str]) -> int:
        """Wait for a driver's end and return its exit code."""
        said, _ = driver.communicate(timeout=DEADLINE_S)
        self.said.append(said)
        return driver.returncode

    def num_events(self) -> int:
        """Events that the journals hold."""
        paths = self.folder.glob("out/trials/*/events.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in paths)

    def is_under_way(self) -> bool:
        """Whether a trial has begun that is not finished."""
        for path in self.folder.glob("out/trials/*/events.jsonl"):
            events = [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]
            if events and events[-1] not in ("finish", "failed"):
                return True
        return False

    def outcome(self) -> tuple[list[dict[str, str]], dict[str, bytes]]:
        """Return the rows of results.csv without times and payments, and every network.json."""
        with (self.folder / "out" / "results.csv").open() as file:
            rows = list(csv.DictReader(file))
        kept = [{k: v for k, v in row.items() if k not in TIMES_AND_PAYMENTS} for row in rows]
        networks = self.folder.glob("out/trials/*/network.json")
        return kept, {path.parent.name: path.read_bytes() for path in networks}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@contextmanager
def sweep_in(folder: Path, *settings: str) -> Iterator[Sweep]:
    """Make a sweep with an endpoint of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = Endpoint(folder / "requests.log", free_port(0))
    endpoint.start()
    try:
        yield Sweep(folder, endpoint, settings)
    finally:
        endpoint.kill()


def wait_until_under_way(sweep: Sweep, driver: subprocess.Popen[str], num_events: int) -> None:
    """Wait for a moment in a trial, after some events, of a sweep that goes on.

    Raises:
        TimeoutError: If the sweep ends or stands still before.
    """
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and driver.poll() is None:
        if sweep.num_events() >= num_events and sweep.is_under_way():
            return
        time.sleep(0.01)
    raise TimeoutError(f"no moment in a trial after {num_events} events")


def processes_of(driver: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """Return the driver's actors of a class."""
    children = psutil.Process(driver.pid).children(recursive=True)
    return [child for child in children if name in " ".join(child.cmdline())]


def kill_actor(sweep: Sweep, driver: subprocess.Popen[str], rng: random.Random) -> None:
    """Kill the process of one trial."""
    rng.choice(processes_of(driver, "TrialActor")).kill()


def kill_driver(sweep: Sweep, driver: subprocess.Popen[str], rng: random.Random) -> None:
    """Kill the command itself."""
    driver.send_signal(signal.SIGKILL)


def kill_limiter(sweep: Sweep, driver: subprocess.Popen[str], rng: random.Random) -> None:
    """Kill what holds all actors to the limits."""
    rng.choice(processes_of(driver, "Limiter")).kill()


def kill_endpoint(sweep: Sweep, driver: subprocess.Popen[str], rng: random.Random) -> None:
    """Kill the language model, which comes back."""
    sweep.endpoint.kill()
    time.sleep(OUTAGE_S)
    sweep.endpoint.start()


KILLS = {
    "actor": kill_actor,
    "driver": kill_driver,
    "limiter": kill_limiter,
    "endpoint": kill_endpoint,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kill changed: nothing, and how many texts were asked for again."""

    kind: str
    moment: int
    equal: bool
    num_again: int


def undisturbed(folder: Path) -> Sweep:
    """Run the sweep without a kill."""
    with sweep_in(folder) as sweep:
        code = sweep.finish(sweep.start())
        assert code == 0, sweep.said[-1]
    return sweep


def disturbed(folder: Path, kind: str, seed: int, calm: Sweep) -> Verdict:
    """Run the sweep with one kill at a random moment, and again until it is through."""
    rng = random.Random(f"{kind} {seed}")
    with sweep_in(folder) as sweep:
        driver = sweep.start()
        # Later there may be no trial under way any more before it is noticed.
        moment = rng.randrange(1, calm.num_events() * 3 // 4)
        wait_until_under_way(sweep, driver, moment)
        time.sleep(rng.random() * 0.2)
        KILLS[kind](sweep, driver, rng)
        code = sweep.finish(driver)
        if code != 0:
            code = sweep.finish(sweep.start())
        assert code == 0, "\n".join(sweep.said)
    num_again = num_repeats(sweep.endpoint.log) - num_repeats(calm.endpoint.log)
    return Verdict(kind, moment, sweep.outcome() == calm.outcome(), num_again)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Kill every part at every moment and print what it changed; 0 if results are all equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KILLS), default=list(KILLS))
    options = parser.parse_args()
    all_equal = True
    with tempfile.TemporaryDirectory() as root:
        calm = undisturbed(Path(root) / "calm")
        num_texts = len(calm.endpoint.log.read_text().splitlines())
        repeats = num_repeats(calm.endpoint.log)
        say(f"undisturbed: {calm.num_events()} events, {num_texts} texts, {repeats} of them again")
        for kind in options.kinds:
            for seed in range(options.moments):
                folder = Path(root) / f"{kind}{seed}"
                verdict = disturbed(folder, kind, seed, calm)
                all_equal &= verdict.equal and verdict.num_again <= MAX_CONCURRENCY
                result = "equal" if verdict.equal else "DIFFERENT"
                say(
                    f"{kind:9} after event {verdict.moment:3}: results {result}, "
                    f"{verdict.num_again} texts asked for again"
                )
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
