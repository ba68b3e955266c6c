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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from dln_core.llm.remote_store import MAX_UNSENT
from orchestrator.cluster.ray_cluster import free_port
from tests.clusters import (
    ROOT,
    folder_with_a_short_path,
    kill,
    own_cache,
    processes_below,
    quiet,
    raylet_of,
    three_nodes,
)
from tests.e2e.counting_server import num_repeats

DEADLINE_S = 300
TRIAL = "TrialActor"
OUTAGE_S = 3.0
# The node of a trial dies within a second, in which the trial may end.
MOST_ATTEMPTS = 3
LOOK_PAUSE_S = 0.03
# Texts that may be in flight at once.
MAX_CONCURRENCY = 12
# Texts that may be asked for again after a kill: as many again may be answered and in the commit
# that is under way, and as many wait for it; a node may have some that the driver's lacks.
MOST_AGAIN = 3 * MAX_CONCURRENCY
MOST_AGAIN_BEYOND = {"node": MAX_UNSENT}
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
    "limits.max_attempts=50", "out_dir=out",
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
        variables: What is added to its environment.
        nodes: Those of the cluster that it joins; none if it starts one.
        said: What each run of the command has said.
    """

    folder: Path
    endpoint: Endpoint
    settings: tuple[str, ...]
    variables: dict[str, str]
    nodes: list[Any]
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
            env=_environment() | self.variables,
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

    def num_under_way(self) -> int:
        """Trials that have begun and are not finished."""
        num_trials = 0
        for path in self.folder.glob("out/trials/*/events.jsonl"):
            events = [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]
            num_trials += bool(events) and events[-1] not in ("finish", "failed")
        return num_trials

    def has_begun_anew(self) -> bool:
        """Whether a trial was lost and taken up again."""
        paths = self.folder.glob("out/trials/*/events.jsonl")
        lines = [line for path in paths for line in path.read_bytes().splitlines()]
        return any(json.loads(line)["epoch"] > 1 for line in lines)

    def outcome(self) -> tuple[list[dict[str, str]], dict[str, bytes]]:
        """Return the rows of results.csv without times and payments, and every network.json."""
        with (self.folder / "out" / "results.csv").open() as file:
            rows = list(csv.DictReader(file))
        kept = [{k: v for k, v in row.items() if k not in TIMES_AND_PAYMENTS} for row in rows]
        networks = self.folder.glob("out/trials/*/network.json")
        return kept, {path.parent.name: path.read_bytes() for path in networks}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def sweep_in(folder: Path, *, on_three_nodes: bool = False) -> Iterator[Sweep]:
    """Make a sweep with an endpoint of its own, and with a cluster of its own if that is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = Endpoint(folder / "requests.log", free_port(0))
    with ExitStack() as stack:
        endpoint.start()
        stack.callback(endpoint.kill)
        if on_three_nodes:
            short_folder = stack.enter_context(folder_with_a_short_path())
            address, nodes = stack.enter_context(three_nodes(folder, short_folder))
            variables = quiet(short_folder) | own_cache(folder / "node0")
            yield Sweep(folder, endpoint, (f"cluster.address={address}",), variables, nodes)
        else:
            yield Sweep(folder, endpoint, ("cache.dir=cache",), {}, [])


Kill = Callable[[], object]


def processes_of(sweep: Sweep, driver: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """Return a sweep's living processes of a class of actors."""
    roots = [raylet_of(node) for node in sweep.nodes] or [driver.pid]
    return [process for root in roots for process in processes_below(root, name)]


def kills_of_a_node(sweep: Sweep, _driver: subprocess.Popen[str]) -> list[Kill]:
    """Nodes with a trial, and all that runs there; not the first, which is the driver's."""
    others = sweep.nodes[1:]
    return [partial(kill, node) for node in others if processes_below(raylet_of(node), TRIAL)]


def kills_of_the_endpoint(sweep: Sweep, _driver: subprocess.Popen[str]) -> list[Kill]:
    """The language model, which comes back."""

    def restart() -> None:
        sweep.endpoint.kill()
        time.sleep(OUTAGE_S)
        sweep.endpoint.start()

    return [restart]


# What can be killed at a moment, all without notice.
KILLS: dict[str, Callable[[Sweep, subprocess.Popen[str]], list[Kill]]] = {
    "actor": lambda sweep, driver: [one.kill for one in processes_of(sweep, driver, TRIAL)],
    "driver": lambda _sweep, driver: [driver.kill],
    "limiter": lambda sweep, driver: [one.kill for one in processes_of(sweep, driver, "Limiter")],
    "node": kills_of_a_node,
    "endpoint": kills_of_the_endpoint,
}
ENDS_A_TRIAL = ("actor", "driver", "node")


def kills_under_way(
    sweep: Sweep, driver: subprocess.Popen[str], kind: str, num_events: int
) -> list[Kill]:
    """Wait until all actors are in the midst of a trial, after some events; return what to kill.

    Raises:
        TimeoutError: If the sweep ends or stands still before.
    """
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and driver.poll() is None:
        if sweep.num_events() >= num_events:
            num_actors = len(processes_of(sweep, driver, TRIAL))
            kills = KILLS[kind](sweep, driver)
            if kills and 0 < num_actors <= sweep.num_under_way():
                return kills
        time.sleep(LOOK_PAUSE_S)
    raise TimeoutError(f"nothing to kill in a trial after {num_events} events")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kill changed: nothing, and how many texts were asked for again."""

    kind: str
    moment: int
    equal: bool
    num_again: int

    @property
    def is_good(self) -> bool:
        """Whether results are the same and no stored answer was asked for again."""
        most = MOST_AGAIN + MOST_AGAIN_BEYOND.get(self.kind, 0)
        return self.equal and self.num_again <= most


def undisturbed(folder: Path) -> Sweep:
    """Run the sweep without a kill."""
    with sweep_in(folder) as sweep:
        code = sweep.finish(sweep.start())
        assert code == 0, sweep.said[-1]
    return sweep


def disturbed(folder: Path, kind: str, seed: int, calm: Sweep) -> Verdict:
    """Run the sweep with one kill at a random moment of a trial, and again until it is through.

    Raises:
        TimeoutError: If no kill came before the trial that it was meant for had ended.
    """
    for attempt in range(MOST_ATTEMPTS):
        rng = random.Random(f"{kind} {seed} {attempt}")
        verdict = _disturbed(folder / str(attempt), kind, rng, calm)
        if verdict is not None:
            return verdict
    raise TimeoutError(f"{MOST_ATTEMPTS} kills came when their trials had just ended")


def _disturbed(folder: Path, kind: str, rng: random.Random, calm: Sweep) -> Verdict | None:
    with sweep_in(folder, on_three_nodes=kind == "node") as sweep:
        driver = sweep.start()
        # Later there may be no trial under way any more before it is noticed.
        moment = rng.randrange(1, calm.num_events() * 3 // 4)
        kills_under_way(sweep, driver, kind, moment)
        time.sleep(rng.random() * 0.2)
        rng.choice(kills_under_way(sweep, driver, kind, moment))()
        code = sweep.finish(driver)
        if code != 0:
            code = sweep.finish(sweep.start())
        assert code == 0, "\n".join(sweep.said)
    if kind in ENDS_A_TRIAL and not sweep.has_begun_anew():
        return None
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
    all_good = True
    with tempfile.TemporaryDirectory() as root:
        calm = undisturbed(Path(root) / "calm")
        num_texts = len(calm.endpoint.log.read_text().splitlines())
        repeats = num_repeats(calm.endpoint.log)
        say(f"undisturbed: {calm.num_events()} events, {num_texts} texts, {repeats} of them again")
        for kind in options.kinds:
            for seed in range(options.moments):
                folder = Path(root) / f"{kind}{seed}"
                verdict = disturbed(folder, kind, seed, calm)
                all_good &= verdict.is_good
                result = "equal" if verdict.equal else "DIFFERENT"
                say(
                    f"{kind:9} after event {verdict.moment:3}: results {result}, "
                    f"{verdict.num_again} texts asked for again"
                )
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
