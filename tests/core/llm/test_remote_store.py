"""A sweep's own store on a node, backed by the one on the driver's machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dln_core.concurrency import map_bounded
from dln_core.config import CacheConfig
from dln_core.errors import JournalError
from dln_core.llm.connect import open_stores, own_store
from dln_core.llm.remote_store import MAX_UNSENT, BackedStore
from dln_core.llm.store import AnswerStore, Lookups
from tests.core.llm.toys import GENERATE, Recorder

IDENTITY = {"model": "toy"}


class DriversStore:
    """A store on a machine that can be slow or out of reach."""

    def __init__(self, answers: dict[bytes, bytes] | None = None) -> None:
        self.answers = dict(answers or {})
        self.lookups: list[list[bytes]] = []
        self.batches: list[dict[bytes, bytes]] = []
        self.is_away = False
        self.is_asked = anyio.Semaphore(0)
        self.answers_now = anyio.Event()
        self.answers_now.set()

    @property
    def store_id(self) -> bytes:
        return b"the driver's"

    async def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        self.lookups.append(keys)
        await self.answers_now.wait()
        return {key: self.answers[key] for key in keys if key in self.answers}

    async def put_many(self, answers: dict[bytes, bytes]) -> None:
        self.batches.append(answers)
        self.is_asked.release()
        await self.answers_now.wait()
        if self.is_away:
            raise JournalError("the driver's disk is full")
        self.answers |= answers


@pytest.fixture
def local(tmp_path: Path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.db")
    yield opened
    opened.close()


async def test_what_the_driver_has_is_asked_for_once_and_kept(local):
    driver = DriversStore({b"a": b"x"})
    store = BackedStore(local, driver)
    for _ in range(2):
        assert await store.get([b"a"]) == {b"a": b"x"}
    assert driver.lookups == [[b"a"]]
    assert await local.get([b"a"]) == {b"a": b"x"}


async def test_lookups_that_arrive_meanwhile_are_one_journey():
    driver = DriversStore({b"7": b"x"})
    driver.answers_now = anyio.Event()
    lookups = Lookups(driver.get_many, anyio.Lock())
    found = {}

    async def look_up(key: bytes) -> None:
        found[key] = await lookups.get([key])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_up, b"first")
        await anyio.wait_all_tasks_blocked()
        for number in range(20):
            tasks.start_soon(look_up, b"%d" % number)
        await anyio.wait_all_tasks_blocked()
        driver.answers_now.set()
    assert [len(keys) for keys in driver.lookups] == [1, 20]
    assert {key: answers for key, answers in found.items() if answers} == {b"7": {b"7": b"x"}}


async def test_the_driver_has_every_answer_once_the_store_is_flushed(local):
    driver = DriversStore()
    store = BackedStore(local, driver)
    answers = {b"%d" % number: b"x" * 100 for number in range(3 * MAX_UNSENT)}
    await map_bounded(lambda key: store.put({key: answers[key]}), [*answers])
    await store.flush()
    assert driver.answers == answers == await local.get([*answers])
    assert sum(map(len, driver.batches)) == len(answers)


async def test_answers_that_come_while_others_are_on_their_way_do_not_wait(local):
    driver = DriversStore()
    store = BackedStore(local, driver)
    driver.answers_now = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.put, {b"first": b"x"})
        await driver.is_asked.acquire()
        await store.put({b"second": b"y"})
        await store.put({b"third": b"z"})
        driver.answers_now.set()
    await store.flush()
    assert driver.batches == [{b"first": b"x"}, {b"second": b"y", b"third": b"z"}]


async def test_what_could_not_be_forwarded_is_named_and_sent_again(local):
    driver = DriversStore()
    store = BackedStore(local, driver)
    driver.is_away = True
    with pytest.raises(JournalError, match="disk is full"):
        await store.put({b"a": b"x"})
    assert await local.get([b"a"]) == {b"a": b"x"}
    driver.is_away = False
    await store.flush()
    assert driver.answers == {b"a": b"x"}


async def test_a_cancelled_journey_loses_no_answer(local):
    driver = DriversStore()
    store = BackedStore(local, driver)
    driver.answers_now = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.put, {b"a": b"x"})
        await driver.is_asked.acquire()
        tasks.cancel_scope.cancel()
    driver.answers_now.set()
    await store.flush()
    assert driver.answers == {b"a": b"x"}


async def test_a_node_without_a_store_pays_for_nothing_that_was_forwarded(tmp_path):
    driver, asked, silent = DriversStore(), Recorder(), Recorder()
    for name, inner in (("first node", asked), ("second node", silent)):
        config = CacheConfig(dir=str(tmp_path / name))
        async with open_stores(config, "sweep", driver) as stores:
            await stores.around(inner, IDENTITY).send(GENERATE)
    assert (len(asked.requests), silent.requests) == (1, [])


async def test_answers_shared_by_other_sweeps_of_a_node_are_forwarded_too(tmp_path):
    config, driver, silent = CacheConfig(dir=str(tmp_path)), DriversStore(), Recorder()
    async with open_stores(config, "earlier sweep") as stores:
        await stores.around(Recorder(), IDENTITY).send(GENERATE)
    async with open_stores(config, "sweep", driver) as stores:
        await stores.around(silent, IDENTITY).send(GENERATE)
    assert (len(driver.answers), silent.requests) == (1, [])


async def test_on_the_drivers_machine_the_file_is_used_directly(tmp_path):
    config = CacheConfig(dir=str(tmp_path))
    driver = DriversStore()
    own = own_store(config, "sweep")
    driver_id = own.id
    own.close()

    class Here(DriversStore):
        @property
        def store_id(self) -> bytes:
            return driver_id

    for source in (Here(), None):
        async with open_stores(config, "sweep", source) as stores:
            assert isinstance(stores.own, AnswerStore)
    async with open_stores(config, "another sweep", driver) as stores:
        assert isinstance(stores.own, BackedStore)


def test_a_store_is_told_from_others_wherever_it_is_opened(tmp_path):
    paths = ("a.db", "b.db", "a.db")
    stores = [AnswerStore(tmp_path / path) for path in paths]
    first, other, again = (store.id for store in stores)
    assert first == again != other
    for store in stores:
        store.close()
