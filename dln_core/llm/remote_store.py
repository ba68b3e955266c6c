"""A sweep's own store on a node of a cluster, backed by the one on the driver's machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import anyio

from dln_core.llm.store import AnswerStore, Lookups

# Answers that may wait while others are on their way; a lost node takes them along.
MAX_UNSENT = 100


class AnswerSource(Protocol):
    """A sweep's own store on another machine; pickled with the services of a trial."""

    @property
    def store_id(self) -> bytes:
        """The ``id`` of the store."""
        ...

    async def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys."""
        ...

    async def put_many(self, answers: dict[bytes, bytes]) -> None:
        """Store answers; they outlive a kill once this has returned."""
        ...


class BackedStore:
    """Asks another machine for what the local store lacks, and forwards new answers to it.

    Whoever stores an answer while nothing is on its way takes all that waits along, so that
    batches grow with the distance and no task is needed in the background.  At most
    ``MAX_UNSENT`` answers wait.

    Args:
        local: The store of this machine.
        source: The store of the other one.
    """

    def __init__(self, local: AnswerStore, source: AnswerSource) -> None:
        self._local = local
        self._source = source
        self._lookups = Lookups(source.get_many, anyio.Lock())
        self._unsent: dict[bytes, bytes] = {}
        self._sending = anyio.Lock()

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the answers that either store has, by their keys.

        Raises:
            JournalError: If a store cannot be read.
        """
        found = await self._local.get(keys)
        missing = [key for key in keys if key not in found]
        if missing:
            more = await self._lookups.get(missing)
            if more:
                await self._local.put(more)
            found |= more
        return found

    async def put(self, answers: Mapping[bytes, bytes]) -> None:
        """Store answers here, and soon there; they outlive a kill of this process.

        Raises:
            JournalError: If they could not be stored.
        """
        await self._local.put(answers)
        self._unsent |= answers
        if not self._sending.locked() or len(self._unsent) > MAX_UNSENT:
            await self.flush()

    async def flush(self) -> None:
        """Return once the other machine has all answers that were stored before.

        Raises:
            JournalError: If they could not be stored there; the next call tries again.
        """
        async with self._sending:
            sent = dict(self._unsent)
            if sent:
                await self._source.put_many(sent)
            for key, answer in sent.items():
                if self._unsent[key] is answer:
                    del self._unsent[key]


def backed_by(source: AnswerSource | None, local: AnswerStore) -> AnswerStore | BackedStore:
    """Back a store by another machine's, unless both are one and the same file."""
    if source is None or source.store_id == local.id:
        return local
    return BackedStore(local, source)
