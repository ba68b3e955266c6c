"""A sweep as a user starts it, in a folder of its own, with its endpoint and perhaps a cluster."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orchestrator.cluster.ray_cluster import free_port
from tests.clusters import (
    ROOT,
    folder_with_a_short_path,
    own_cache,
    processes_below,
    quiet,
    raylet_of,
    three_nodes,
)

DEADLINE_S = 300
# Texts that may be in flight at once.
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


def processes_of(sweep: Sweep, driver: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """Return a sweep's living processes of a class of actors."""
    roots = [raylet_of(node) for node in sweep.nodes] or [driver.pid]
    return [process for root in roots for process in processes_below(root, name)]
