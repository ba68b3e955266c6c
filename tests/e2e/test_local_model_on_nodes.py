"""A local model on a cluster: each node with trials has one server, which may be killed."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from dln_core.llm.local.weights import MODELS_DIR_ENV, pull
from tests.clusters import (
    folder_with_a_short_path,
    own_cache,
    processes_below,
    quiet,
    raylet_of,
    three_nodes,
)

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
DEADLINE_S = 300.0
NUM_TRIALS = 2
SWEEP = (
    "-m", "task=triage", "network=dln1", "trainer=fast", "seed=1,2", "trainer.batch_size=4",
    "trainer.num_prompts=2", "trainer.num_iterations=1", "data.max_dev=4", "data.max_test=4",
    "llm=local", f"llm.model={MODEL}", "out_dir=out", f"cluster.max_trials={NUM_TRIALS}",
    # Each fills a node.
    "cluster.cpus_per_trial=2", "baselines=[]",
)  # fmt: skip


@contextmanager
def sweeping(folder: Path, address: str, variables: dict[str, str]) -> Iterator[Any]:
    """Run the sweep on the cluster at an address; what it says goes to ``said.txt``."""
    with (
        (folder / "said.txt").open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *SWEEP, f"cluster.address={address}"],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as driver,
    ):
        try:
            yield driver
        finally:
            driver.kill()


def servers_of(node: Any) -> list[psutil.Process]:
    found = processes_below(raylet_of(node), f"serve {MODEL}")
    pids = {process.pid for process in found}
    # A program that a server starts bears the server's command line for a moment.
    return [process for process in found if process.ppid() not in pids]


def num_begun(folder: Path) -> int:
    return sum('"start"' in path.read_text() for path in folder.glob("out/trials/*/events.jsonl"))


def test_each_node_serves_its_trials_and_a_killed_server_comes_back(tmp_path, monkeypatch):
    pytest.importorskip("openvino_genai")
    # Nodes have caches of their own, but not gigabytes of weights each.
    monkeypatch.setenv(MODELS_DIR_ENV, str(pull(MODEL).parent))
    with folder_with_a_short_path() as short, three_nodes(tmp_path, short) as (address, nodes):
        variables = quiet(short) | own_cache(tmp_path / "node0")
        seen: list[set[int]] = [set() for _ in nodes]
        killed: psutil.Process | None = None
        deadline = time.monotonic() + DEADLINE_S
        with sweeping(tmp_path, address, variables) as driver:
            while driver.poll() is None:
                assert time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
                for pids, node in zip(seen, nodes, strict=True):
                    pids.update(process.pid for process in servers_of(node))
                if killed is None and num_begun(tmp_path) == NUM_TRIALS:
                    killed = next(server for node in nodes for server in servers_of(node))
                    killed.kill()
                time.sleep(0.1)
        left = [process for node in nodes for process in servers_of(node)]
    assert driver.returncode == 0, (tmp_path / "said.txt").read_text()
    assert sorted(len(pids) for pids in seen) == [0, 1, 2]
    assert not left
    with (tmp_path / "out" / "results.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["finished"] * NUM_TRIALS
