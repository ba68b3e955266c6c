"""The nodes of a cluster that was joined: what each needs before trials are placed on it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from dln_core.errors import ClusterError

DISTRIBUTION = "dln"
CHECK_TIMEOUT_S = 60.0


def pinned_to(node_id: str) -> Any:
    """The scheduling strategy that places an actor or a task on one node and nowhere else."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def node_of_this_process() -> str:
    """Return the id of the node that an actor or a task runs on."""
    import ray

    node_id: str = ray.get_runtime_context().get_node_id()
    return node_id


def check_nodes(variables: Collection[str]) -> None:
    """Make sure that every node has this package in this version, and the keys that are set here.

    Raises:
        ClusterError: Naming the node, if one does not.
    """
    import ray

    wanted = look_around(list(variables))
    looking = ray.remote(num_cpus=0, max_retries=0)(look_around)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    found: dict[str, Any] = {}
    for node in nodes:
        try:
            strategy = pinned_to(node["NodeID"])
            answer = looking.options(scheduling_strategy=strategy).remote(list(variables))
        except ImportError as error:  # of the head node, on whose behalf ``ray://`` drivers act
            raise ClusterError(_lacking(node, wanted)) from error
        found[node["NodeID"]] = answer
    ray.wait([*found.values()], num_returns=len(found), timeout=CHECK_TIMEOUT_S)
    for node in nodes:
        _check(node, found[node["NodeID"]], wanted)


def look_around(variables: list[str]) -> tuple[str, list[str]]:
    """Return the version of this package and which environment variables are set, on one node."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "from a folder"
    return version, [name for name in variables if os.environ.get(name)]


def _check(node: Mapping[str, Any], answer: Any, wanted: tuple[str, list[str]]) -> None:
    import ray

    try:
        version, variables = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(
            f"{_name(node)} did not answer within {CHECK_TIMEOUT_S:g} s; end Ray there "
            "(`ray stop`) or repair its network"
        ) from error
    except (ray.exceptions.RayError, ImportError) as error:
        raise ClusterError(_lacking(node, wanted)) from error
    if version != wanted[0]:
        raise ClusterError(_lacking(node, wanted, version))
    missing = [name for name in wanted[1] if name not in variables]
    if missing:
        raise ClusterError(
            f"the environment variable {missing[0]} is set here but not on {_name(node)}; set it "
            "where Ray is started there"
        )


def _lacking(node: Mapping[str, Any], wanted: tuple[str, list[str]], version: str = "") -> str:
    has = f"has version {version} of" if version else "cannot import"
    return (
        f"{_name(node)} {has} the package {DISTRIBUTION}; install the driver's version {wanted[0]} "
        "there, in the Python that Ray runs in"
    )


def _name(node: Mapping[str, Any]) -> str:
    return f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
