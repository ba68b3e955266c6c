"""Stored answers: no call is paid twice."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson

from dln_core.errors import JournalError
from dln_core.llm.base import Choice, LanguageModel, Request, Response
from dln_core.types import Usage

BUSY_TIMEOUT_S = 60.0
OPEN_ATTEMPTS = 200
OPEN_PAUSE_S = 0.05


class AnswerStore:
    """A SQLite database of answers that the processes of one machine share.

    An answer is committed before ``put`` returns; puts that arrive while another is being
    committed share the next commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise self._failure("opened", error) from error
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._pending: list[tuple[bytes, bytes]] = []

    async def get(self, key: bytes) -> bytes | None:
        """Return the stored answer, or None.

        Raises:
            JournalError: If the database cannot be read.
        """
        return await anyio.to_thread.run_sync(self._read, key, limiter=self._one_at_a_time)

    async def put(self, key: bytes, answer: bytes) -> None:
        """Store an answer; it outlives a kill of the process once this has returned.

        Raises:
            JournalError: If it could not be stored.
        """
        self._pending.append((key, answer))
        await anyio.to_thread.run_sync(self._write_pending, limiter=self._one_at_a_time)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _read(self, key: bytes) -> bytes | None:
        query = "SELECT answer FROM answers WHERE key = ?"
        try:
            row = self._database.execute(query, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure("read", error) from error
        return None if row is None else bytes(row[0])

    def _write_pending(self) -> None:
        batch, self._pending = self._pending, []
        if not batch:
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", batch)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            # The other puts of this batch must not take their answers for stored.
            self._pending[:0] = batch
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise self._failure("written", error) from error

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
    database.execute(
        "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL)"
        " WITHOUT ROWID"
    )


class Cache:
    """A transport that answers from stores and stores what it had to send for.

    Args:
        inner: Where requests go that no store answers.
        identity: What makes one model different from another (name, revision, rung, …).
        read: Stores asked in turn; the first is the sweep's own.
        write: Stores that keep a new answer.
    """

    def __init__(
        self,
        inner: LanguageModel,
        identity: Mapping[str, Any],
        *,
        read: Sequence[AnswerStore],
        write: Sequence[AnswerStore],
    ) -> None:
        self._inner = inner
        self._identity = orjson.dumps(dict(identity), option=orjson.OPT_SORT_KEYS)
        self._read = read
        self._write = write

    async def send(self, request: Request) -> Response:
        """Answer from a store, else by the inner model.

        What another store than the first answers is copied into the first: the sweep's own store
        then holds all that the sweep was answered, whatever becomes of the others.
        """
        key = self.key(request)
        for position, store in enumerate(self._read):
            stored = await store.get(key)
            if stored is None:
                continue
            if position > 0:
                await self._read[0].put(key, stored)
            return _decode(stored)
        response = await self._inner.send(request)
        for store in self._write:
            await store.put(key, _encode(response))
        return response

    def key(self, request: Request) -> bytes:
        """Hash of the model's identity and of all in the request that the answer depends on."""
        content = asdict(request)
        del content["role"]
        body = orjson.dumps([type(request).__name__, content], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(self._identity + b"\n" + body).digest()


def _encode(response: Response) -> bytes:
    choices = [[c.text, c.token_logprobs, c.finish_reason] for c in response.choices]
    usage = response.usage
    return orjson.dumps([choices, [usage.prompt_tokens, usage.completion_tokens]])


def _decode(stored: bytes) -> Response:
    choices, usage = orjson.loads(stored)
    return Response(
        choices=tuple(
            Choice(text, None if logprobs is None else tuple(logprobs), reason)
            for text, logprobs, reason in choices
        ),
        usage=Usage(*usage),
        paid=False,
    )
