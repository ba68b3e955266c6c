"""Stored answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.concurrency import map_bounded
from dln_core.config import CacheConfig, PriceConfig
from dln_core.errors import RequestError
from dln_core.llm.adapters.usage import joined
from dln_core.llm.base import Choice, LanguageModel, Request, Response, ScoreRequest
from dln_core.llm.cache import Cache
from dln_core.llm.connect import cache_folder, open_stores
from dln_core.llm.dedupe import Dedupe
from dln_core.llm.ledger import Counts, Ledger, Metered
from dln_core.llm.payer import Payer
from dln_core.llm.simulated import SimulatedModel
from dln_core.llm.store import AnswerStore
from dln_core.llm.units import Keys
from dln_core.types import Message, Role, Usage
from tests.core.llm.toys import CITIES, GENERATE, QUESTION, SCORE, FixedWorld, Recorder

IDENTITY = {"model": "toy", "rung": "score"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.db")
    yield opened
    opened.close()


def over(inner: LanguageModel, store: AnswerStore, rung: str | None = "score") -> Cache:
    return Cache(inner, IDENTITY, rung=rung, read=[store], write=[store], payer=Payer())


class Scorer:
    """Scores every target by one log-prob a character, and counts as a kind of endpoint does."""

    def __init__(self, counts: str = "context once") -> None:
        self.counts = counts
        self.requests: list[ScoreRequest] = []

    async def send(self, request: Request) -> Response:
        assert isinstance(request, ScoreRequest)
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        own = sum(map(len, request.targets))
        choices = tuple(Choice(t, (-1.0 / len(t),) * len(t)) for t in request.targets)
        usage = {
            "context once": Usage(100, own),
            "targets as prompt": Usage(100 + own, 0),
            "nothing": Usage(),
        }
        if self.counts == "each by itself":
            # A tokenizer may join the end of a context to some targets and not to others.
            counts = [Usage(100 + len(c.text) - (c.text < "d"), 1) for c in choices]
            return joined([Response((c,), u) for c, u in zip(choices, counts, strict=True)])
        return Response(choices, usage[self.counts])


RUNG_OF = {
    "context once": "score",
    "targets as prompt": "score",
    "each by itself": "echo",
    "nothing": "score",
}


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


def test_the_key_ignores_the_role():
    keys = Keys(IDENTITY)
    assert len({keys.whole(replace(GENERATE, role=role)) for role in Role}) == 1
    assert len({keys.whole(replace(SCORE, role=role)) for role in Role}) == 1
    assert len({keys.pairs(replace(SCORE, role=role))["Tokyo"] for role in Role}) == 1


def test_the_key_knows_everything_that_the_answer_depends_on():
    other = (Message("user", "Name a city of France."),)
    requests: list[Request] = [
        GENERATE,
        replace(GENERATE, messages=other),
        replace(GENERATE, messages=(Message("system", QUESTION[0].text),)),
        replace(GENERATE, max_tokens=9),
        replace(GENERATE, temperature=0.5),
        replace(GENERATE, seed=1),
        replace(GENERATE, stop=("\n",)),
        replace(GENERATE, logprobs=True),
        SCORE,
        replace(SCORE, messages=other),
        replace(SCORE, targets=("Tokyo", "Kyoto")),
        replace(SCORE, targets=("Tokyo",)),
    ]
    keys = Keys(IDENTITY)
    assert len({keys.whole(request) for request in requests}) == len(requests)
    scorings = [SCORE, replace(SCORE, messages=other)]
    pairs = [key for scoring in scorings for key in keys.pairs(scoring).values()]
    assert len({*pairs, *map(keys.whole, requests)}) == len(pairs) + len(requests)


def test_the_key_of_a_pair_does_not_depend_on_the_other_targets():
    keys = Keys(IDENTITY)
    alone = keys.pairs(replace(SCORE, targets=("Tokyo",)))
    assert keys.pairs(SCORE)["Tokyo"] == alone["Tokyo"]


def test_the_key_knows_the_model_and_the_rung_whatever_the_order_of_their_names():
    def key(**identity: str) -> bytes:
        return Keys(identity).whole(GENERATE)

    same = {key(model="a", rung="score"), key(rung="score", model="a")}
    assert len(same) == 1
    assert len(same | {key(model="b", rung="score"), key(model="a", rung="echo")}) == 3


@pytest.mark.parametrize("counts", RUNG_OF)
async def test_only_the_targets_that_are_not_stored_are_sent_for(store, counts):
    inner = Scorer(counts)
    model = over(inner, store, RUNG_OF[counts])
    for targets in (("ab", "c"), ("d", "ab", "efg"), ("c", "efg")):
        response = await model.send(replace(SCORE, targets=targets))
        assert [choice.text for choice in response.choices] == list(targets)
        assert all(choice.logprob == pytest.approx(-1.0) for choice in response.choices)
    assert [request.targets for request in inner.requests] == [("ab", "c"), ("d", "efg")]


@given(
    st.sampled_from(sorted(RUNG_OF)),
    st.lists(
        st.lists(st.sampled_from(["a", "bc", "def", "gh", "ijklm"]), min_size=1).map(tuple),
        min_size=1,
        max_size=5,
    ),
)
async def test_what_is_asked_for_depends_on_the_request_and_not_on_what_was_stored(counts, asked):
    inner = Scorer(counts)
    store = AnswerStore(Path(":memory:"))
    model = over(inner, store, RUNG_OF[counts])
    sent = Usage()
    for targets in asked:
        request = replace(SCORE, targets=targets)
        response = await model.send(request)
        distinct = replace(request, targets=tuple(dict.fromkeys(targets)))
        if distinct.targets == targets:
            assert response.usage == (await Scorer(counts).send(request)).usage
        sent += response.paid_usage
    paid = Usage()
    for request in inner.requests:
        paid += (await Scorer(counts).send(request)).usage
    assert sent == paid
    store.close()


async def test_a_partly_stored_scoring_is_paid_in_part(store):
    ledger = Ledger()
    price = PriceConfig(prompt_usd_per_million=1e6, completion_usd_per_million=1e6)
    model = Metered(over(Scorer(), store), [ledger], price)
    for targets in (("ab",), ("ab", "cde"), ("cde", "ab")):
        await model.send(replace(SCORE, targets=targets))
    assert ledger.totals() == Counts(3, 300, 2 + 5 + 5, 2, 200, 2 + 3)
    assert ledger.cost_usd == 205


async def test_labels_are_stored_as_a_whole_since_they_are_read_off_one_token(store):
    inner = Scorer()
    model = over(inner, store, "label")
    await model.send(replace(SCORE, targets=("ab", "c")))
    await model.send(replace(SCORE, targets=("ab",)))
    assert not (await model.send(replace(SCORE, targets=("ab", "c")))).paid
    assert [request.targets for request in inner.requests] == [("ab", "c"), ("ab",)]


async def test_a_refused_scoring_stores_nothing(store):
    class Refusing:
        async def send(self, request: Request) -> Response:
            raise RequestError("too long")

    with pytest.raises(RequestError):
        await over(Refusing(), store).send(SCORE)
    assert (await over(Scorer(), store).send(SCORE)).paid


class SlowStore(AnswerStore):
    """A store whose lookups and commits end when they are told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_read, self.may_write = anyio.Event(), anyio.Event()
        self.has_read, self.is_writing = anyio.Semaphore(0), anyio.Semaphore(0)

    async def get(self, keys):
        found = await super().get(keys)
        self.has_read.release()
        await self.may_read.wait()
        return found

    async def put(self, answers):
        self.is_writing.release()
        await self.may_write.wait()
        await super().put(answers)


@pytest.mark.parametrize("request_", [GENERATE, SCORE])
async def test_an_answer_that_arrives_during_a_lookup_is_not_paid_again(tmp_path, request_):
    own, slow = AnswerStore(tmp_path / "own.db"), SlowStore(tmp_path / "slow.db")
    slow.may_write.set()
    inner = Recorder() if request_ is GENERATE else Scorer()
    looking = Cache(
        Dedupe(inner), IDENTITY, rung="score", read=[own, slow], write=[own], payer=Payer()
    )
    responses = []

    async def ask() -> None:
        responses.append(await looking.send(request_))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await slow.has_read.acquire()
        group.start_soon(ask)
        # Both have missed the answer in the first store; the second still misses it in the other.
        await slow.has_read.acquire()
        held, slow.may_read = slow.may_read, anyio.Event()
        slow.may_read.set()
        first = await looking.send(request_)
        held.set()
    assert len(inner.requests) == 1
    assert [first.paid, *(response.paid for response in responses)] == [True, False, False]
    own.close()
    slow.close()


async def test_an_answer_that_is_being_stored_is_not_paid_again_nor_given_before(tmp_path):
    slow = SlowStore(tmp_path / "slow.db")
    slow.may_read.set()
    inner, responses = Recorder(), []
    model = Cache(Dedupe(inner), IDENTITY, rung="score", read=[slow], write=[slow], payer=Payer())

    async def ask() -> None:
        responses.append(await model.send(GENERATE))

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(ask)
            await slow.is_writing.acquire()
        assert responses == []
        slow.may_write.set()
    assert len(inner.requests) == 1
    assert sorted(response.paid for response in responses) == [False, True]
    slow.close()


async def test_a_request_that_is_cancelled_while_its_answer_is_stored_does_not_lose_it(tmp_path):
    slow, inner = SlowStore(tmp_path / "slow.db"), Recorder()
    slow.may_read.set()
    model = over(inner, slow)
    async with anyio.create_task_group() as group:
        group.start_soon(model.send, GENERATE)
        await slow.is_writing.acquire()
        group.cancel_scope.cancel()
        slow.may_write.set()
    assert not (await model.send(GENERATE)).paid
    slow.close()


async def test_many_requests_over_the_same_texts_pay_each_text_once_at_a_time(store):
    model = over(Dedupe(SimulatedModel(FixedWorld())), store)
    requests = [replace(SCORE, targets=(city,)) for city in CITIES] * 20
    responses = await map_bounded(model.send, requests)
    assert sum(response.paid for response in responses) == len(CITIES)


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


async def test_the_size_bound_holds_for_the_shared_store_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("dln_core.llm.store.COMMITS_PER_PRUNING", 1)
    config = CacheConfig(dir=str(tmp_path), max_gb=1e-4)
    requests = [replace(GENERATE, seed=seed, stop=("x" * 500,)) for seed in range(400)]

    class Verbose(Recorder):
        async def send(self, request: Request) -> Response:
            await super().send(request)
            return Response((Choice("word " * 200),), self.usage)

    async with open_stores(config, "first") as stores:
        await map_bounded(stores.around(Verbose(), IDENTITY).send, requests)
    own, shared = Verbose(), Verbose()
    async with open_stores(config, "first") as stores:
        await map_bounded(stores.around(own, IDENTITY).send, requests)
    read_only = replace(config, mode="read_only")
    async with open_stores(read_only, "second") as stores:
        await map_bounded(stores.around(shared, IDENTITY).send, requests)
    assert own.requests == []
    assert 200 < len(shared.requests) < 400
