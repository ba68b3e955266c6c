"""Limiters of endpoints as named actors of the Ray cluster.

Each is named after its endpoint's address and the variable that holds the key, so that all trials,
of several sweeps too, find the same one.  Ray starts it again should it die.  It belongs to no
driver, and ends by itself once nobody has used it for some time.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from dln_core.config import LimitsConfig, LLMConfig
from dln_core.llm.limits import Limiter
from orchestrator.cluster.nodes import node_of_this_process
from orchestrator.groups import first_of
from orchestrator.limiter.client import ClusterLimiter, LimiterAwayError
from orchestrator.limiter.messages import Allotment, Report
from orchestrator.limiter.server import RESTART_PAUSE_S, SharedLimits

NAMESPACE = "dln"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANSWER_S = 5.0
LEAVE_S = 1.0
IDLE_S = 60.0


class LimiterActor:
    """Keeps the limits of one endpoint and key.

    Args:
        endpoint: Its address, for the dashboard.
    """

    def __init__(self, endpoint: str) -> None:
        import ray

        self._endpoint = endpoint
        context = ray.get_runtime_context()
        is_restarted = bool(context.was_current_actor_reconstructed)
        self._limits = SharedLimits(pause_s=RESTART_PAUSE_S if is_restarted else 0.0)
        self._asked_at = time.monotonic()
        threading.Thread(
            target=self._end_when_idle, args=(context.current_actor,), daemon=True
        ).start()

    def __repr__(self) -> str:
        return f"limiter · {self._endpoint} · {self._limits.num_clients} clients"

    def exchange(self, report: Report) -> Allotment:
        """Take a client's report in and say what it may do."""
        self._asked_at = time.monotonic()
        return self._limits.exchange(report)

    def _end_when_idle(self, itself: Any) -> None:
        import ray

        while (left_s := self._asked_at + IDLE_S - time.monotonic()) > 0:
            time.sleep(left_s)
        ray.kill(itself, no_restart=True)


class RemoteLimiters:
    """Limits that all actors of the cluster keep together; see ``LimiterSource``.

    Attributes:
        clients: The open limiters of this process by name.
    """

    def __init__(self) -> None:
        self.clients: dict[str, ClusterLimiter] = {}

    @asynccontextmanager
    async def open(self, config: LLMConfig, limits: LimitsConfig) -> AsyncIterator[Limiter]:
        """Open the limiter of an endpoint; connections with the same one and key share it.

        What is opened within the block of another one must be closed within it.
        """
        name = limiter_name(config, node_of_this_process())
        if name in self.clients:
            self.clients[name].restrict(limits)
            yield self.clients[name]
            return
        client = ClusterLimiter(RemoteExchange(name, config.base_url or ""), limits)
        self.clients[name] = client
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.run)
                try:
                    yield client
                finally:
                    tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            # The client never fails, so this is what the block raised.
            raise first_of(group) from None
        finally:
            del self.clients[name]
            with anyio.move_on_after(LEAVE_S, shield=True):
                await client.leave()


class RemoteExchange:
    """Hands reports to the actor of an endpoint, which it starts if there is none.

    Args:
        name: The actor's name.
        address: The endpoint's address.
    """

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._endpoint = urlsplit(address).netloc
        self._actor: Any = None

    async def __call__(self, report: Report) -> Allotment:
        """Return the limiter's answer.

        Raises:
            LimiterAwayError: If there is none.
        """
        import ray

        try:
            if self._actor is None:
                self._actor = await anyio.to_thread.run_sync(self._find)
            with anyio.fail_after(ANSWER_S):
                answer: Allotment = await self._actor.exchange.remote(report)
            return answer
        except (ray.exceptions.RayError, OSError, ValueError, RuntimeError) as error:
            self._actor = None
            raise LimiterAwayError(f"the limiter of {self._endpoint} is away ({error})") from error

    def _find(self) -> Any:
        import ray

        return (
            ray.remote(LimiterActor)
            .options(
                name=self._name,
                namespace=NAMESPACE,
                get_if_exists=True,
                lifetime="detached",
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=0,
            )
            .remote(self._endpoint)
        )


def limiter_name(config: LLMConfig, node_id: str) -> str:
    """Name the limiter of an endpoint and key, as seen from a node.

    The key itself is not in it.  A loopback address is another endpoint on every node.
    """
    address = (config.base_url or "").rstrip("/")
    is_loopback = urlsplit(address).hostname in LOOPBACK
    parts = (address, config.api_key_env, node_id if is_loopback else "")
    return f"limiter-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
