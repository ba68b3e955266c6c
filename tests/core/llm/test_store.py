"""The database of answers."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from anyio.abc import Process

from dln_core.concurrency import map_bounded
from dln_core.errors import JournalError
from dln_core.llm import store as store_module
from dln_core.llm.store import AnswerStore

WRITER = Path(__file__).with_name("store_writer.py")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.db")
    yield opened
    opened.close()


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


def answers_to(keys: list[bytes]) -> dict[bytes, bytes]:
    return {key: b"answer to " + key for key in keys}


async def test_concurrent_puts_are_all_there(store):
    keys = [f"key {i}".encode() for i in range(300)]

    async def put(key: bytes) -> None:
        await store.put({key: b"answer to " + key})
        assert await store.get([key]) == {key: b"answer to " + key}

    await map_bounded(put, keys)
    assert await store.get(keys) == answers_to(keys)


async def test_a_key_that_was_never_stored_has_no_answer(store):
    await store.put({b"something": b"answer"})
    assert await store.get([b"nothing", b"something"]) == {b"something": b"answer"}
    assert await store.get([]) == {}


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
    assert await store.get(keys) == answers_to(keys)
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
    assert await store.get(keys) == answers_to(keys)
    store.close()


async def test_a_put_that_cannot_be_written_says_so_and_a_later_one_writes_both(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.01)
    store = AnswerStore(tmp_path / "answers.db")
    other = sqlite3.connect(tmp_path / "answers.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused = []

    async def put(key: bytes) -> None:
        try:
            await store.put({key: b"x"})
        except JournalError:
            refused.append(key)

    await map_bounded(put, [b"a", b"b", b"c"])
    assert sorted(refused) == [b"a", b"b", b"c"]
    other.execute("ROLLBACK")
    other.close()
    await store.put({b"d": b"x"})
    keys = [b"a", b"b", b"c", b"d"]
    assert await store.get(keys) == dict.fromkeys(keys, b"x")
    store.close()


def test_a_new_file_that_another_process_is_still_making_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "answers.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    pauses = []

    def other_finishes(seconds: float) -> None:
        pauses.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(store_module, "time", SimpleNamespace(sleep=other_finishes))
    AnswerStore(path).close()
    assert len(pauses) == 1
    other.close()


def test_a_file_that_stays_locked_is_a_journal_error(tmp_path, monkeypatch):
    path = tmp_path / "answers.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(store_module, "OPEN_ATTEMPTS", 2)
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


async def test_more_keys_than_fit_into_one_query_are_all_looked_up(store):
    keys = [f"key {i}".encode() for i in range(2 * store_module.KEYS_PER_QUERY + 1)]
    await store.put(answers_to(keys))
    assert await store.get(keys) == answers_to(keys)


async def test_lookups_and_puts_that_arrive_together_share_one_visit(store, monkeypatch):
    visits = []
    run_sync = anyio.to_thread.run_sync

    async def counted(function, *arguments):
        visits.append(function.__name__)
        return await run_sync(function, *arguments)

    monkeypatch.setattr(store_module.anyio.to_thread, "run_sync", counted)
    keys = [f"key {i}".encode() for i in range(100)]
    await map_bounded(lambda key: store.put({key: b"answer to " + key}), keys)
    found = await map_bounded(lambda key: store.get([key]), keys)
    assert found == [answers_to([key]) for key in keys]
    assert visits == ["_write", "_read"]


async def test_a_cancelled_lookup_leaves_the_others_their_answers(store):
    await store.put({b"a": b"x"})
    found = {}
    scopes = [anyio.CancelScope() for _ in range(5)]

    async def look(number: int) -> None:
        with scopes[number]:
            found[number] = await store.get([b"a"])

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(look, number)
        await anyio.lowlevel.checkpoint()
        # The first of them is the one at work.
        scopes[0].cancel()
        scopes[3].cancel()
    assert found == {number: {b"a": b"x"} for number in (1, 2, 4)}


async def fill(store: AnswerStore, names: range, num_bytes: int = 1000) -> None:
    for name in names:
        await store.put({str(name).encode(): bytes(num_bytes)})


async def kept(store: AnswerStore, names: range) -> list[int]:
    found = await store.get([str(name).encode() for name in names])
    return [name for name in names if str(name).encode() in found]


async def test_the_oldest_answers_go_once_the_store_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "COMMITS_PER_PRUNING", 5)
    store = AnswerStore(tmp_path / "bounded.db", max_gb=0.0002)
    await fill(store, range(600))
    left = await kept(store, range(600))
    assert left == list(range(left[0], 600))
    assert 100 <= len(left) < 200
    store.close()
    assert (tmp_path / "bounded.db").stat().st_size < 250_000


async def test_a_replaced_answer_counts_as_new(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "COMMITS_PER_PRUNING", 1)
    store = AnswerStore(tmp_path / "bounded.db", max_gb=0.0002)
    for start in range(0, 600, 50):
        await fill(store, range(start, start + 50))
        await store.put({b"0": b"refreshed"})
    assert await store.get([b"0", b"1"]) == {b"0": b"refreshed"}
    store.close()


async def test_a_store_without_a_bound_keeps_everything(store, monkeypatch):
    monkeypatch.setattr(store_module, "COMMITS_PER_PRUNING", 1)
    await fill(store, range(300))
    assert await kept(store, range(300)) == list(range(300))


async def test_two_stores_of_one_file_prune_it_together(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "COMMITS_PER_PRUNING", 3)
    path = tmp_path / "bounded.db"
    first, second = AnswerStore(path, max_gb=0.0002), AnswerStore(path, max_gb=0.0002)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, first, range(300))
        group.start_soon(fill, second, range(1000, 1300))
    assert await kept(first, range(299, 300)) == [299]
    assert await kept(first, range(1300)) == await kept(second, range(1300))
    assert len(await kept(first, range(1300))) < 200
    first.close()
    second.close()
