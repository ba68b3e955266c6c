"""Sweeps on several nodes, each with stores and a working folder of its own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from dln_core.config import DataConfig, TaskConfig
from dln_core.errors import ClusterError
from dln_core.llm.simulated import InContextReader
from dln_core.llm.simulated.server import ServerConfig
from dln_core.tasks import load_task
from orchestrator.cluster.ray_cluster import connect
from orchestrator.settings.schema import ClusterConfig
from tests.clusters import folder_with_a_short_path, own_cache, quiet, ray_on, three_nodes
from tests.networks import Host, NotPermittedError, network
from tests.servers import OpenAIServer, Seen, serve

pytestmark = pytest.mark.slow

DEADLINE_S = 280.0
# Of the proof in full; without the variable the outage lasts until the cluster has noticed.
OUTAGE_S = float(os.environ.get("DLN_OUTAGE_S", "0"))
# No two trials ask for the same: nodes that did so at the same moment would both pay.
TASKS = ("triage", "routing", "free_time", "truth_values")
NUM_TRIALS = len(TASKS)
SWEEP = (
    "-m", f"task={','.join(TASKS)}", "network=dln2", "trainer=fast", "trainer.batch_size=6",
    "trainer.num_prompts=4", "trainer.num_hidden=2", "trainer.num_iterations=6", "data.max_dev=10",
    "data.max_test=20", "llm=openai_compatible", "llm.model=m", "out_dir=out", "cache.mode=off",
    "cluster.max_trials=4", "baselines=[]",
)  # fmt: skip


@asynccontextmanager
async def sweeping(
    folder: Path,
    server: OpenAIServer,
    address: str,
    variables: dict[str, str],
    host: Host | None = None,
) -> AsyncIterator[Process]:
    """Run the sweep on the cluster at an address; what it says goes to ``said.txt``."""
    os.makedirs(folder, exist_ok=True)
    command = [sys.executable, "-m", "orchestrator", *SWEEP]
    command += [f"llm.base_url={server.base_url}", f"cluster.address={address}"]
    with (folder / "said.txt").open("w") as said:
        process = await anyio.open_process(
            host.command(*command) if host else command,
            cwd=folder,
            env={**os.environ, **variables},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        with anyio.fail_after(DEADLINE_S):
            yield process
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()
    assert process.returncode == 0, (folder / "said.txt").read_text()


async def until(condition: Callable[[], bool], sweep: Process, folder: Path) -> None:
    """Wait for a condition while the sweep runs."""
    while not condition():
        if sweep.returncode is not None:
            pytest.fail(f"the sweep ended before: {(folder / 'said.txt').read_text()}")
        await anyio.sleep(0.05)


def events_in(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for path in folder.glob("out/trials/*/events.jsonl")
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def is_under_way(folder: Path) -> bool:
    """Whether every trial has made a step; then each node has one that is far from its end."""
    steps = [event for event in events_in(folder) if event["kind"] == "step"]
    return sum(event["step"] == 1 for event in steps) == NUM_TRIALS


def has_begun_anew(folder: Path) -> bool:
    return any(event["epoch"] == 2 for event in events_in(folder))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "results.csv").open() as file:
        return list(csv.DictReader(file))


def without_times(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key != "seconds"}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with folder_with_a_short_path() as folder:
        yield folder


def check_that_a_missing_key_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLN_KEY_OF_THE_DRIVER", "secret")
    told = r"variable DLN_KEY_OF_THE_DRIVER is set here but not on node \S+ \([\d.]+\)"
    with (
        pytest.raises(ClusterError, match=told),
        connect(ClusterConfig(address=address), ["DLN_KEY_OF_THE_DRIVER"]),
    ):
        pass


def questions(seen: Sequence[Seen]) -> list[str]:
    """What was sent about the tasks' examples, which a probe does not know."""
    splits = [load_task(TaskConfig(name=name), DataConfig()).splits for name in TASKS]
    inputs = [example.input for each in splits for example in (*each.train, *each.dev, *each.test)]
    bodies = [str(one.body) for one in seen]
    return [body for body in bodies if any(repr(text)[1:-1] in body for text in inputs)]


async def test_the_drivers_store_serves_the_answers_of_lost_nodes(
    tmp_path, short_folder, monkeypatch
):
    variables = quiet(short_folder) | own_cache(tmp_path / "node0")
    folder = tmp_path / "sweep"
    async with serve(InContextReader(), config=ServerConfig(slots=32, latency_s=0.02)) as server:
        with three_nodes(tmp_path, short_folder) as (address, _):
            check_that_a_missing_key_is_told(address, monkeypatch)
            async with sweeping(folder, server, address, variables):
                pass
            before = rows_of(folder)
            # No journal is left, and no store but the driver's: all is computed again.
            shutil.rmtree(folder / "out" / "trials")
            shutil.rmtree(tmp_path / "node1")
            shutil.rmtree(tmp_path / "node2")
            server.seen.clear()
            async with sweeping(folder, server, address, variables):
                pass
    # What the trials paid when they were computed first stays on their bill.
    assert [without_times(row) for row in rows_of(folder)] == [without_times(row) for row in before]
    assert {row["status"] for row in before} == {"finished"}
    assert not questions(server.seen)


async def test_a_sweep_survives_the_loss_of_a_machines_network(tmp_path, short_folder):
    folder = tmp_path / "node0" / "sweep"
    with ExitStack() as stack:
        try:
            net = stack.enter_context(network(3))
        except NotPermittedError as error:
            pytest.skip(f"network namespaces cannot be made here ({error})")
        address = stack.enter_context(ray_on(net.hosts, tmp_path, short_folder))
        slow, variables = ServerConfig(slots=32, latency_s=0.05), quiet(short_folder)
        variables |= own_cache(tmp_path / "node0")
        async with (
            serve(InContextReader(), config=slow, host=net.gateway) as server,
            sweeping(folder, server, address, variables, net.hosts[0]) as sweep,
        ):
            await until(lambda: is_under_way(folder), sweep, folder)
            net.hosts[2].cut_off()
            outage_ends_at = time.monotonic() + OUTAGE_S
            await until(lambda: has_begun_anew(folder), sweep, folder)
            await anyio.sleep(max(0.0, outage_ends_at - time.monotonic()))
            net.hosts[2].reconnect()
    assert [row["status"] for row in rows_of(folder)] == ["finished"] * NUM_TRIALS
