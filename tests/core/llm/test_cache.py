"""Stored answers."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from anyio.abc import Process

from dln_core.concurrency import map_bounded
from dln_core.config import CacheConfig
from dln_core.errors import JournalError
from dln_core.llm import cache
from dln_core.llm.base import Choice, Request
from dln_core.llm.cache import AnswerStore, Cache
from dln_core.llm.connect import cache_folder, open_stores
from dln_core.llm.simulated import SimulatedModel
from dln_core.types import Message, Role
from tests.core.llm.toys import GENERATE, QUESTION, SCORE, FixedWorld, Recorder

WRITER = Path(__file__).with_name("store_writer.py")
IDENTITY = {"model": "toy", "rung": "score"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.db")
    yield opened
    opened.close()


def over(inner: Recorder | SimulatedModel, store: AnswerStore) -> Cache:
    return Cache(inner, IDENTITY, read=[store], write=[store])


async def start_writer(path: Path, prefix: str, count: str) -> Process:
    command = [sys.executable, str(WRITER), str(path), prefix, count]
    return await anyio.open_process(command, stderr=None)


async def printed_by(process: Process, num_lines: int | None = None) -> bytes:
    """What a process prints, up to its end or until there are so many lines."""
    assert process.stdout is not None
    printed = b""
    async for chunk in process.stdout:
        printed += chunk
        if num_lines is not None and printed.count(b"\n") >= num_lines:
            break
    return printed


def whole_lines(printed: bytes) -> list[bytes]:
    return printed.split(b"\n")[:-1]


@pytest.mark.parametrize("request_", [GENERATE, SCORE])
async def test_the_second_equal_request_makes_no_call_and_is_not_paid(store, request_):
    model = over(SimulatedModel(FixedWorld()), store)
    first = await model.send(request_)
    silent = Recorder()
    second = await over(silent, store).send(request_)
    assert (first.paid, second.paid) == (True, False)
    assert (second.choices, second.usage) == (first.choices, first.usage)
    assert silent.requests == []


async def test_an_answer_survives_reopening(tmp_path):
    path = tmp_path / "deep" / "answers.db"
    opened = AnswerStore(path)
    first = await over(Recorder(), opened).send(GENERATE)
    opened.close()
    again, silent = AnswerStore(path), Recorder()
    second = await over(silent, again).send(GENERATE)
    again.close()
    assert second.choices == first.choices
    assert silent.requests == []


def test_the_key_ignores_the_role(store):
    model = over(Recorder(), store)
    assert len({model.key(replace(GENERATE, role=role)) for role in Role}) == 1
    assert len({model.key(replace(SCORE, role=role)) for role in Role}) == 1


def test_the_key_knows_everything_that_the_answer_depends_on(store):
    other = (Message("user", "Name a city of France."),)
    requests: list[Request] = [
        GENERATE,
        replace(GENERATE, messages=other),
        replace(GENERATE, messages=(Message("system", QUESTION[0].text),)),
        replace(GENERATE, max_tokens=9),
        replace(GENERATE, temperature=0.5),
        replace(GENERATE, seed=1),
        replace(GENERATE, stop=("\n",)),
        SCORE,
        replace(SCORE, messages=other),
        replace(SCORE, targets=("Tokyo", "Kyoto")),
        replace(SCORE, targets=("Tokyo",)),
    ]
    model = over(Recorder(), store)
    assert len({model.key(request) for request in requests}) == len(requests)


def test_the_key_knows_the_model_and_the_rung_whatever_the_order_of_their_names(store):
    def key(**identity: str) -> bytes:
        return Cache(Recorder(), identity, read=[store], write=[store]).key(GENERATE)

    same = {key(model="a", rung="score"), key(rung="score", model="a")}
    assert len(same) == 1
    assert len(same | {key(model="b", rung="score"), key(model="a", rung="echo")}) == 3


async def test_concurrent_puts_are_all_there(store):
    keys = [f"key {i}".encode() for i in range(300)]

    async def put(key: bytes) -> None:
        await store.put(key, b"answer to " + key)
        assert await store.get(key) == b"answer to " + key

    await map_bounded(put, keys)
    assert await map_bounded(store.get, keys) == [b"answer to " + key for key in keys]


async def test_a_key_that_was_never_stored_has_no_answer(store):
    assert await store.get(b"nothing") is None


async def test_processes_that_open_one_new_file_together_all_find_their_answers(tmp_path):
    path = tmp_path / "answers.db"
    with anyio.fail_after(100):
        writers = [await start_writer(path, f"{name}-", "60") for name in "abc"]
        printed = [await printed_by(writer) for writer in writers]
        for writer in writers:
            assert await writer.wait() == 0
            await writer.aclose()
    store = AnswerStore(path)
    keys = whole_lines(b"".join(printed))
    assert len(set(keys)) == 180
    assert await map_bounded(store.get, keys) == [b"answer to " + key for key in keys]
    store.close()


async def test_a_killed_writer_loses_no_answer_whose_put_had_returned(tmp_path):
    path = tmp_path / "answers.db"
    with anyio.fail_after(100):
        writer = await start_writer(path, "k", "endless")
        printed = await printed_by(writer, 200)
        writer.send_signal(signal.SIGKILL)
        printed += await printed_by(writer)
        assert await writer.wait() == -signal.SIGKILL
        await writer.aclose()
    store = AnswerStore(path)
    keys = whole_lines(printed)
    assert len(keys) >= 200
    assert await map_bounded(store.get, keys) == [b"answer to " + key for key in keys]
    store.close()


async def test_a_put_that_cannot_be_written_says_so_and_a_later_one_writes_both(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "BUSY_TIMEOUT_S", 0.01)
    store = AnswerStore(tmp_path / "answers.db")
    other = sqlite3.connect(tmp_path / "answers.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused = []

    async def put(key: bytes) -> None:
        try:
            await store.put(key, b"x")
        except JournalError:
            refused.append(key)

    await map_bounded(put, [b"a", b"b", b"c"])
    assert sorted(refused) == [b"a", b"b", b"c"]
    other.execute("ROLLBACK")
    other.close()
    await store.put(b"d", b"x")
    assert await map_bounded(store.get, [b"a", b"b", b"c", b"d"]) == [b"x"] * 4
    store.close()


def test_a_new_file_that_another_process_is_still_making_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "answers.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    pauses = []

    def other_finishes(seconds: float) -> None:
        pauses.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(cache, "time", SimpleNamespace(sleep=other_finishes))
    AnswerStore(path).close()
    assert len(pauses) == 1
    other.close()


def test_a_file_that_stays_locked_is_a_journal_error(tmp_path, monkeypatch):
    path = tmp_path / "answers.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(cache, "OPEN_ATTEMPTS", 2)
    with pytest.raises(JournalError, match="locked"):
        AnswerStore(path)
    other.close()


def test_a_folder_that_cannot_be_written_is_named_with_the_setting(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JournalError, match=r"file/answers\.db.*cache\.dir"):
        AnswerStore(tmp_path / "file" / "answers.db")


def test_a_file_that_is_no_database_is_a_journal_error(tmp_path):
    (tmp_path / "answers.db").write_text("not a database, but long enough to be read as one" * 9)
    with pytest.raises(JournalError):
        AnswerStore(tmp_path / "answers.db")


@pytest.mark.parametrize(
    ("mode", "reads", "writes"),
    [
        ("on", True, True),
        ("read_only", True, False),
        ("refresh", False, True),
        ("off", False, False),
    ],
)
async def test_the_mode_decides_whether_sweeps_share_answers(tmp_path, mode, reads, writes):
    on = CacheConfig(mode="on", dir=str(tmp_path))
    chosen = CacheConfig(mode=mode, dir=str(tmp_path))
    earlier, middle, later = Recorder(), Recorder(), Recorder()
    fresh = replace(GENERATE, seed=1)
    async with open_stores(on, "earlier sweep") as stores:
        await stores.around(earlier, IDENTITY).send(GENERATE)
    async with open_stores(chosen, "this sweep") as stores:
        model = stores.around(middle, IDENTITY)
        await model.send(GENERATE)
        await model.send(fresh)
    assert (GENERATE not in middle.requests) == reads
    async with open_stores(on, "later sweep") as stores:
        await stores.around(later, IDENTITY).send(fresh)
    assert (later.requests == []) == writes


@pytest.mark.parametrize("mode", ["on", "read_only", "refresh", "off"])
async def test_a_sweeps_own_answers_are_kept_in_every_mode(tmp_path, mode):
    config = CacheConfig(mode=mode, dir=str(tmp_path))
    inner, silent = Recorder(), Recorder()
    async with open_stores(config, "sweep") as stores:
        await stores.around(inner, IDENTITY).send(GENERATE)
    async with open_stores(config, "sweep") as stores:
        assert not (await stores.around(silent, IDENTITY).send(GENERATE)).paid
    assert (len(inner.requests), silent.requests) == (1, [])


async def test_a_refreshed_answer_replaces_the_shared_one(tmp_path):
    asked = Recorder()
    for mode in ("on", "refresh"):
        async with open_stores(CacheConfig(mode=mode, dir=str(tmp_path)), mode) as stores:
            newest = await stores.around(asked, IDENTITY).send(GENERATE)
    async with open_stores(CacheConfig(dir=str(tmp_path)), "third") as stores:
        read = await stores.around(Recorder(), IDENTITY).send(GENERATE)
    assert len(asked.requests) == 2
    assert read.choices == newest.choices == (Choice("answer 2"),)


def test_the_folder_is_the_users_cache_unless_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(CacheConfig()) == tmp_path / "dln"
    assert cache_folder(CacheConfig(dir="~/answers")) == Path.home() / "answers"
