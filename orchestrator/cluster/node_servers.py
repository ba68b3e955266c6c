"""Servers of local models on a cluster: one on each node that trials are placed on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from dln_core.errors import LLMError
from orchestrator.cluster.local_server import STOP_TIMEOUT_S, serve
from orchestrator.cluster.ray_cluster import ActorLostError, Cluster, remote_errors
from orchestrator.groups import first_of


class ServerActor:
    """Serves local models on its node for as long as it lives.

    Ray ends it with the driver, whatever becomes of that, and the kernel ends the servers with it.

    Args:
        models: Names of the models.
    """

    def __init__(self, models: list[str]) -> None:
        self._models = models
        self._addresses: dict[str, str] = {}
        self._failure: Exception | None = None
        self._is_settled = anyio.Event()
        self._is_over = anyio.Event()

    async def hold(self) -> None:
        """Serve until ``close``; a failure reaches ``addresses``."""
        try:
            async with serve(self._models) as self._addresses:
                self._is_settled.set()
                await self._is_over.wait()
        except Exception as error:  # the actor's boundary: handed to whoever waits for addresses
            self._failure = first_of(error)
        finally:
            self._is_settled.set()

    async def addresses(self) -> dict[str, str]:
        """Return the addresses by model, once the servers are up.

        Raises:
            LLMError: If one does not come up.
        """
        await self._is_settled.wait()
        if self._failure is not None:
            raise self._failure
        return self._addresses

    async def close(self) -> None:
        """Let ``hold`` end the servers."""
        self._is_over.set()


class NodeServers:
    """Tells an actor's local models' addresses, which are those of its own node.

    Where Ray runs on the driver's machine alone, that machine's servers are all there are.

    Args:
        cluster: Where the actors are.
        models: Names of the local models.
        here: Addresses of the servers that the driver has started, by model.
    """

    def __init__(self, cluster: Cluster, models: Sequence[str], here: dict[str, str]) -> None:
        self._cluster = cluster
        self._models = list(models)
        self._here = here
        self._servers: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    async def addresses(self, actor: Any) -> dict[str, str]:
        """Return the addresses, by model, at which an actor reaches its local models.

        The first actor of a node waits until the servers there are up.

        Raises:
            ActorLostError: If the actor or its node is lost.
            LLMError: If a server does not come up.
        """
        if not self._cluster.is_joined or not self._models:
            return self._here
        with remote_errors():
            node_id: str = await actor.node_id.remote()
        if node_id not in self._servers:
            # The name of one that failed is not free at once.
            name = f"local models {next(self._numbers)} · {node_id[:6]}"
            server = self._cluster.start_on_node(node_id, ServerActor, name, self._models)
            server.hold.remote()
            self._servers[node_id] = server
        server = self._servers[node_id]
        try:
            with remote_errors():
                addresses: dict[str, str] = await server.addresses.remote()
        except (ActorLostError, LLMError):
            # The next actor of this node gets other servers.
            if self._servers.get(node_id) is server:
                del self._servers[node_id]
                self._cluster.stop_actor(server)
            raise
        return addresses

    async def close(self) -> None:
        """End the servers, gently first."""
        with anyio.move_on_after(STOP_TIMEOUT_S):
            async with anyio.create_task_group() as tasks:
                for server in self._servers.values():
                    tasks.start_soon(_close, server)
        for server in self._servers.values():
            self._cluster.stop_actor(server)


async def _close(server: Any) -> None:
    with suppress(ActorLostError), remote_errors():
        await server.close.remote()


@asynccontextmanager
async def serving_on_nodes(
    cluster: Cluster, models: Sequence[str], here: dict[str, str]
) -> AsyncIterator[NodeServers]:
    """Serve local models on the nodes that ask for them, until the block ends; see NodeServers."""
    servers = NodeServers(cluster, models, here)
    try:
        yield servers
    finally:
        with anyio.CancelScope(shield=True):
            await servers.close()
