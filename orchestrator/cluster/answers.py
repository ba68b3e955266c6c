"""The driver's store of answers, served to the nodes of a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dln_core.config import CacheConfig
from dln_core.llm.connect import cache_folder, own_store
from dln_core.llm.remote_store import AnswerSource
from orchestrator.cluster.ray_cluster import Cluster, remote_errors

KEEPER_NAME = "answers"


class AnswerKeeper:
    """The Ray actor that serves a sweep's own store; it lives on the driver's machine.

    Args:
        config: Where the store is.
        name: Name of the store.
    """

    def __init__(self, config: CacheConfig, name: str) -> None:
        self._store = own_store(config, name)

    async def store_id(self) -> bytes:
        """Return what names the store's file."""
        return self._store.id

    async def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys.

        Raises:
            JournalError: If the store cannot be read.
        """
        return await self._store.get(keys)

    async def put_many(self, answers: dict[bytes, bytes]) -> None:
        """Store answers; they outlive a kill once this has returned.

        Raises:
            JournalError: If they could not be stored.
        """
        await self._store.put(answers)


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """The driver's store as a trial's actor sees it: an ``AnswerSource``.

    Attributes:
        store_id: What names the store's file.
        keeper: The actor that serves it.
    """

    store_id: bytes
    keeper: Any

    async def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys.

        Raises:
            ActorLostError: If the driver's machine cannot be reached.
            JournalError: If the store cannot be read.
        """
        with remote_errors():
            found: dict[bytes, bytes] = await self.keeper.get_many.remote(keys)
        return found

    async def put_many(self, answers: dict[bytes, bytes]) -> None:
        """Store answers.

        Raises:
            ActorLostError: If the driver's machine cannot be reached.
            JournalError: If they could not be stored.
        """
        with remote_errors():
            await self.keeper.put_many.remote(answers)


@asynccontextmanager
async def answers_kept(
    cluster: Cluster, config: CacheConfig, name: str
) -> AsyncIterator[AnswerSource | None]:
    """Serve a sweep's own store of answers to the nodes; None if there are no others.

    Raises:
        ActorLostError: If the actor cannot be kept alive.
        JournalError: If the store cannot be opened.
    """
    if not cluster.is_joined:
        yield None
        return
    if cluster.drives_from_node:
        # The environment of Ray's processes may name another folder than the user's.
        config = dataclasses.replace(config, dir=str(cache_folder(config).absolute()))
    keeper = cluster.start_service(AnswerKeeper, KEEPER_NAME, config, name)
    try:
        with remote_errors():
            store_id = await keeper.store_id.remote()
        yield KeptAnswers(store_id, keeper)
    finally:
        cluster.stop_actor(keeper)
