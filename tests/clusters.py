"""Ray clusters of several nodes: on one network, or each in a network of its own.

Every node has a user's cache of its own; a folder with a short path holds Ray's sockets and the
record of running clusters, which other clusters of this machine are not to see.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from tests.networks import Host

ROOT = Path(__file__).parents[1]
START_S = 180.0
STOP_S = 5.0
MEMORY_BYTES = 80 * 1024**2
# A lost node is noticed within seconds instead of about a minute.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


def quiet(short_folder: Path) -> dict[str, str]:
    """Variables of all processes of a cluster that is alone on this machine."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(short_folder),
        "PYTHONPATH": str(ROOT),
    }


def own_cache(home: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(home / "cache")}


@contextmanager
def folder_with_a_short_path() -> Iterator[Path]:
    """Ray's sockets lie below it, and the paths of sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def three_nodes(folder: Path, short_folder: Path) -> Iterator[tuple[str, list[Any]]]:
    """A cluster of three nodes on this machine, each with a user's cache of its own."""
    with patch.dict(os.environ, quiet(short_folder)):
        from ray.cluster_utils import Cluster

        cluster, nodes = Cluster(shutdown_at_exit=False), list[Any]()
        try:
            for number in range(3):
                head = {"_system_config": HEALTH, "dashboard_port": free_port()}
                node = cluster.add_node(
                    num_cpus=2,
                    object_store_memory=MEMORY_BYTES,
                    env_vars={**quiet(short_folder), **own_cache(folder / f"node{number}")},
                    **({} if number else head),
                )
                nodes.append(node)
            yield cluster.address, nodes
        finally:
            for node in reversed(nodes):
                kill(node)


def processes_below(parent: int, name: str) -> list[psutil.Process]:
    """Return the living processes below another whose command line holds a name."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(child.cmdline()):
                found.append(child)
    return found


def raylet_of(node: Any) -> int:
    """Return the process below which all actors of a node run."""
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


def kill(node: Any) -> None:
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ray_on(hosts: list[Host], folder: Path, short_folder: Path) -> Iterator[str]:
    """Start Ray on hosts, each with a working folder and a user's cache of its own."""
    address = f"{hosts[0].address}:6379"
    health = {f"RAY_{name}": str(value) for name, value in HEALTH.items()}
    head = ("--head", "--port=6379", "--include-dashboard=false")
    ray = str(Path(sys.executable).with_name("ray"))
    with ExitStack() as stack:
        for number, host in enumerate(hosts):
            home = folder / f"node{number}"
            home.mkdir()
            said = stack.enter_context((home / "ray.txt").open("w"))
            where = head if number == 0 else (f"--address={address}",)
            start = [ray, "start", "--block", f"--node-ip-address={host.address}"]
            start += ["--num-cpus=2", f"--object-store-memory={MEMORY_BYTES}", *where]
            node = subprocess.Popen(
                host.command(*start),
                cwd=home,
                env={**os.environ, **quiet(short_folder), **health, **own_cache(home)},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            stack.callback(stop, node)
            wait_for_line("Ray runtime started", home / "ray.txt")
        yield address


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    process.kill()
    process.wait()


def wait_for_line(line: str, path: Path) -> None:
    deadline = time.monotonic() + START_S
    while line not in path.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} has no {line!r}: {path.read_text()}")
        time.sleep(0.1)
