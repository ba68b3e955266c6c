"""A database of answers that the processes of one machine share."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from dln_core.errors import JournalError
from dln_core.llm.flights import Flight

BUSY_TIMEOUT_S = 60.0
OPEN_ATTEMPTS = 200
OPEN_PAUSE_S = 0.05
# SQLite's older default bound on the values of one query is 999.
KEYS_PER_QUERY = 500
# Looking at the size costs microseconds; what is written between two looks is some megabytes.
COMMITS_PER_PRUNING = 64
PRUNED_PART = 64
BYTES_PER_GB = 1e9

Result = TypeVar("Result")


@dataclass(slots=True)
class _Batch(Generic[Result]):
    """Keys, with what is to be stored under them, that share one visit to the database."""

    items: dict[bytes, bytes] = field(default_factory=dict)
    flight: Flight[Result] = field(default_factory=Flight)


class Store(Protocol):
    """Answers by their keys."""

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys."""
        ...

    async def put(self, answers: Mapping[bytes, bytes]) -> None:
        """Store answers."""
        ...


class Lookups:
    """Lookups that arrive together share one visit to where the answers are.

    Args:
        visit: Returns what is stored under some keys.
        turn: Held during a visit; what arrives while it is waited for comes along.
    """

    def __init__(
        self, visit: Callable[[list[bytes]], Awaitable[dict[bytes, bytes]]], turn: anyio.Lock
    ) -> None:
        self._visit = visit
        self._turn = turn
        self._asked: _Batch[dict[bytes, bytes]] = _Batch()

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys.

        Raises:
            Exception: What the visit raised, for all who shared it.
        """
        batch = self._asked
        batch.items.update(dict.fromkeys(keys, b""))
        found = await batch.flight.join(partial(self._look_up, batch))
        return {key: found[key] for key in keys if key in found}

    async def _look_up(self, batch: _Batch[dict[bytes, bytes]]) -> dict[bytes, bytes]:
        async with self._turn:
            if self._asked is batch:
                self._asked = _Batch()
            return await self._visit(list(batch.items))


class AnswerStore:
    """Answers by their keys, in a SQLite file.

    Lookups that arrive together share one query, puts that arrive together share one commit.  Once
    ``put`` has returned, its answers outlive a kill of the process.

    Args:
        path: The file; it and its folder are made where they are missing.
        max_gb: Size above which the oldest answers are dropped; None means no bound.  Space that
            becomes free is used for new answers; the file itself does not shrink.

    Attributes:
        id: Names the file, wherever it is opened from.
    """

    def __init__(self, path: Path, max_gb: float | None = None) -> None:
        self._path = path
        self._max_bytes = None if max_gb is None else max_gb * BYTES_PER_GB
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _open(path)
            self.id: bytes = self._database.execute("SELECT id FROM identity").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise self._failure("opened", error) from error
        self._turn = anyio.Lock()
        self._lookups = Lookups(self._visit, self._turn)
        self._given: _Batch[bool] = _Batch()
        self._num_commits = 0

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are stored, by their keys.

        Raises:
            JournalError: If the database cannot be read.
        """
        return await self._lookups.get(keys)

    async def put(self, answers: Mapping[bytes, bytes]) -> None:
        """Store answers; they outlive a kill of the process once this has returned.

        Raises:
            JournalError: If they could not be stored.
        """
        batch = self._given
        batch.items.update(answers)
        await batch.flight.join(partial(self._commit, batch))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    async def _visit(self, keys: list[bytes]) -> dict[bytes, bytes]:
        return await anyio.to_thread.run_sync(self._read, keys)

    async def _commit(self, batch: _Batch[bool]) -> bool:
        async with self._turn:
            if self._given is batch:
                self._given = _Batch()
            try:
                await anyio.to_thread.run_sync(self._write, list(batch.items.items()))
            except JournalError:
                # The next put tries to store them too: they are paid for.
                self._given.items = batch.items | self._given.items
                raise
        return True

    def _read(self, keys: list[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                part = keys[start : start + KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, answer FROM answers WHERE key IN ({marks})"
                found.update(self._database.execute(query, part))
        except sqlite3.Error as error:
            raise self._failure("read", error) from error
        return found

    def _write(self, answers: list[tuple[bytes, bytes]]) -> None:
        insertion = "INSERT OR REPLACE INTO answers (key, answer) VALUES (?, ?)"
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(insertion, answers)
            self._database.execute("COMMIT")
            if self._max_bytes is not None and self._num_commits % COMMITS_PER_PRUNING == 0:
                self._prune(self._max_bytes)
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise self._failure("written", error) from error
        self._num_commits += 1

    def _prune(self, max_bytes: float) -> None:
        # In small parts, so that other processes can write in between.
        while self._num_bytes() > max_bytes:
            pruned = self._database.execute(
                "DELETE FROM answers WHERE age <= "
                f"(SELECT min(age) + (max(age) - min(age)) / {PRUNED_PART} FROM answers)"
            )
            if not pruned.rowcount:
                return

    def _num_bytes(self) -> int:
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _failure(self, done: str, error: Exception) -> JournalError:
        return JournalError(
            f"the store of answers at {self._path} cannot be {done} ({error}); "
            "choose another folder with cache.dir=FOLDER"
        )


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=OPEN_PAUSE_S, check_same_thread=False, isolation_level=None
    )
    for attempt in itertools.count(1):
        try:
            _prepare(database)
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait for its turn while another process switches a new file to WAL.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == OPEN_ATTEMPTS:
                raise
            time.sleep(OPEN_PAUSE_S)
    database.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}")
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    # Rows are in the order of their age: what is replaced counts as new.
    database.execute(
        "CREATE TABLE IF NOT EXISTS answers"
        " (age INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, answer BLOB NOT NULL)"
    )
    database.execute("CREATE TABLE IF NOT EXISTS identity (row INTEGER PRIMARY KEY, id BLOB)")
    if database.execute("SELECT id FROM identity").fetchone() is None:
        database.execute("INSERT OR IGNORE INTO identity VALUES (1, randomblob(16))")
