"""Ray: started on this machine or joined, and the actors placed on it."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from dln_core.errors import ClusterError, DLNError
from orchestrator.cluster.nodes import check_nodes, node_of_this_process, pinned_to
from orchestrator.cluster.placement import actor_options, check_fit
from orchestrator.interrupts import treat_sigterm_as_interrupt
from orchestrator.settings.schema import ClusterConfig

CONNECT_TIMEOUT_S = 5.0
RAY_CLIENT_PORT = 10001  # of ray:// addresses that name none
RAY_DASHBOARD_PORT = 8265
OBJECT_STORE_BYTES = 128 * 1024**2

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


class ActorLostError(ClusterError):
    """An actor's process or node died."""


class Cluster:
    """A Ray cluster that this driver is connected to.

    Attributes:
        dashboard_url: Where the dashboard is; empty if there is none.
        is_joined: Whether Ray runs on, and maybe on other machines; else it is the driver's own.
        drives_from_node: Whether the driver's machine is one of the nodes; with an address
            ``ray://…`` the head node stands for it.
    """

    def __init__(self, config: ClusterConfig, dashboard_url: str) -> None:
        self._config = config
        self.dashboard_url = dashboard_url
        self.is_joined = config.address is not None
        self.drives_from_node = not (config.address or "").startswith("ray://")
        self._remote_classes: dict[type, Any] = {}

    def start_actor(
        self,
        actor_class: type,
        actor_name: str,
        *args: Any,
        resources: Mapping[str, float] | None = None,
    ) -> Any:
        """Place an actor under a readable name; it is never restarted behind our back.

        Args:
            actor_class: What runs in the actor.
            actor_name: Unique name.
            args: Of the class.
            resources: What it asks of its node beside the CPUs of each trial.
        """
        options = actor_options(self._config.cpus_per_trial, resources or {}) | {"max_restarts": 0}
        if self.is_joined:
            # Ray would fill half of a node before it looks at the next one.
            options["scheduling_strategy"] = "SPREAD"
        return self._remote(actor_class).options(name=actor_name, **options).remote(*args)

    def start_on_node(self, node_id: str, actor_class: type, actor_name: str, *args: Any) -> Any:
        """Place an actor on a node, without setting CPUs aside; it is never restarted."""
        options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": pinned_to(node_id)}
        return self._remote(actor_class).options(name=actor_name, **options).remote(*args)

    def start_service(self, actor_class: type, actor_name: str, *args: Any) -> Any:
        """Place an actor that serves the others on the driver's node.

        Ray starts it again should its process die, and repeats the calls that were cut off.
        """
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        options["scheduling_strategy"] = pinned_to(node_of_this_process())
        return self._remote(actor_class).options(name=actor_name, **options).remote(*args)

    def share(self, value: object) -> Any:
        """Put a value where all actors can read it; what is returned stands for it in arguments."""
        import ray

        return ray.put(value)

    def _remote(self, actor_class: type) -> Any:
        import ray

        if actor_class not in self._remote_classes:
            self._remote_classes[actor_class] = ray.remote(actor_class)
        return self._remote_classes[actor_class]

    def stop_actor(self, actor: Any) -> None:
        """End an actor's process at once."""
        import ray

        ray.kill(actor, no_restart=True)

    def check_resources(self, resources: Mapping[str, float]) -> None:
        """Make sure that one node has what a trial asks for.

        Raises:
            ClusterError: If none has it.
        """
        check_fit(resources, _nodes())

    def check_placement(self) -> None:
        """Make sure that one actor fits on some node; otherwise Ray would wait in silence.

        Raises:
            ClusterError: If no node has the CPUs.
        """
        sizes = [node.get("CPU", 0.0) for node in _nodes()]
        largest = max(sizes, default=0.0)
        if self._config.cpus_per_trial > largest:
            raise ClusterError(
                f"cluster.cpus_per_trial={self._config.cpus_per_trial:g} fits on no node: the "
                f"cluster has {len(sizes)} node(s), the largest with {largest:g} CPUs; lower it or "
                "add a larger node"
            )


def _nodes() -> list[dict[str, float]]:
    """What each living node has."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


@contextmanager
def remote_errors() -> Iterator[None]:
    """Give errors that come back through Ray their own type again.

    Raises:
        ActorLostError: If the actor's process or node died, or may have.
    """
    from ray import exceptions

    try:
        yield
    except exceptions.RayTaskError as error:
        if not isinstance(error.cause, Exception):
            raise
        if not isinstance(error.cause, DLNError):
            # The error that Ray raises as both its own and the cause's type has it as text alone.
            error.cause.add_note(str(error))
        raise error.cause from None
    except (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        # What Ray's memory monitor ends, and what was on a node that is gone, have no common base.
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.LocalRayletDiedError,
        exceptions.ObjectLostError,
    ) as error:
        raise ActorLostError(
            "the process of the trial's actor was lost (killed, out of memory, or its node went "
            "away); run the same command again to go on from its last step"
        ) from error


@contextmanager
def connect(config: ClusterConfig, variables: Collection[str] = ()) -> Iterator[Cluster]:
    """Start Ray on this machine, or join the cluster at ``cluster.address``; leave it at the end.

    Blocks for some seconds, and must run in the main thread: the processes that Ray starts end
    with the thread that started them.

    Args:
        config: Where the cluster is.
        variables: Names of environment variables that hold keys; those that are set here must be
            set on all nodes.

    Raises:
        ClusterError: If Ray cannot be started, reached, or cannot place an actor, or if a node
            lacks this package or a key.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    if config.address is None:
        _check_machine(config)
    else:
        _check_reachable(config.address)
    import ray

    options = _local_options(config) if config.address is None else {"address": config.address}
    try:
        context = ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of a start that takes too long Ray raises just that
        where = "on this machine" if config.address is None else f"at {config.address}"
        reason = str(error).strip().partition("\n")[0]
        raise ClusterError(
            f"Ray could not be used {where} ({reason}); check cluster.address, and RAY_AUTH_MODE "
            "(token, if the cluster asks for one), or leave the address out to start Ray here"
        ) from error
    finally:
        treat_sigterm_as_interrupt()
    try:
        cluster = Cluster(config, getattr(context, "dashboard_url", "") or "")
        cluster.check_placement()
        if cluster.is_joined:
            check_nodes(variables)
        yield cluster
    finally:
        ray.shutdown()


def _check_machine(config: ClusterConfig) -> None:
    num_cpus = os.cpu_count() or 1
    if config.cpus_per_trial > num_cpus:
        raise ClusterError(
            f"cluster.cpus_per_trial={config.cpus_per_trial:g} fits on no node: this machine has "
            f"{num_cpus} CPUs; lower it, or join a larger cluster with cluster.address"
        )


def _local_options(config: ClusterConfig) -> dict[str, Any]:
    # Trials mostly wait for the LLM, so Ray may promise more CPUs than the machine has.
    num_cpus = max(os.cpu_count() or 1, math.ceil(config.max_trials * config.cpus_per_trial))
    # From its own default on, Ray tries one port after the other when it binds, seconds from now;
    # on a port that is given it fails if another Ray was faster.
    wanted = config.dashboard_port
    return {
        "address": "local",
        "num_cpus": num_cpus,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": None if wanted == RAY_DASHBOARD_PORT else free_port(wanted),
    }


def free_port(wanted: int) -> int:
    """Return the wanted loopback port, or any free one if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ClusterError("no loopback port is free for the Ray dashboard; end some programs")


def _check_reachable(address: str) -> None:
    # Ray itself would try for a minute and then end the whole process.
    parts = urlsplit(address if "//" in address else f"//{address}")
    port = parts.port or (RAY_CLIENT_PORT if parts.scheme == "ray" else None)
    if parts.hostname is None or port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"cluster.address={address} cannot be reached ({error}); start the cluster there, or "
            "leave cluster.address out to start Ray on this machine"
        ) from error
