"""Staying within an endpoint's limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.concurrency import map_bounded
from dln_core.config import LimitsConfig
from dln_core.errors import LLMError, RequestError, TransientError
from dln_core.llm import buckets, local_limiter
from dln_core.llm.adaptive import START
from dln_core.llm.base import (
    GenerateRequest,
    Request,
    RequestList,
    Response,
    Sendable,
    Sender,
)
from dln_core.llm.buckets import Bucket
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import around_endpoint
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.limits import Limits, estimate_tokens
from dln_core.llm.local_limiter import LocalLimiter
from dln_core.llm.retry import Retry
from dln_core.types import Message, Role, Usage
from tests.core.llm.toys import GENERATE, QUESTION, SCORE, FixedWorld, Recorder, endpoint_config
from tests.faults import failed
from tests.servers import OpenAIServer, serve


class Clock:
    """A clock that stands still but for the sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        # At least a microsecond: rounding may not stop the time.
        self.now += max(seconds, 1e-6)
        await anyio.lowlevel.checkpoint()


@contextmanager
def own_time() -> Iterator[Clock]:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        for module in (buckets, local_limiter):
            patch.setattr(module, "time", clock)
        waiting = {"Lock": anyio.Lock, "Event": anyio.Event, "sleep": clock.sleep}
        patch.setattr(local_limiter, "anyio", SimpleNamespace(**waiting))
        yield clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    with own_time() as running:
        yield running


async def send_many(model: Sender[Request], count: int) -> None:
    requests = [GenerateRequest(messages=QUESTION, max_tokens=8, seed=i) for i in range(count)]
    await map_bounded(model.send, requests)


async def endpoint(stack: AsyncExitStack, server: OpenAIServer) -> Endpoint:
    config = endpoint_config(server.base_url)
    session = await stack.enter_async_context(open_session(config))
    return Endpoint(config, session, Route("chat", "score"))


def limited(inner: Sender[Sendable], config: LimitsConfig) -> Limits[Sendable]:
    return Limits(inner, LocalLimiter(config))


async def test_the_server_never_sees_more_than_the_cap():
    async with serve(FixedWorld(), hold_until=3) as server, AsyncExitStack() as stack:
        model = limited(await endpoint(stack, server), LimitsConfig(max_concurrency=3))
        with anyio.fail_after(60):
            await send_many(model, 12)
    assert server.max_in_flight == 3
    assert server.num_requests == 12


class Held(Recorder):
    """Answers nobody before so many requests are in flight at once."""

    def __init__(self, until: int) -> None:
        super().__init__()
        self.until = until
        self.is_full = anyio.Event()

    async def send(self, request: Request) -> Response:
        if self.in_flight + 1 >= self.until:
            self.is_full.set()
        self.in_flight += 1
        await self.is_full.wait()
        self.in_flight -= 1
        return await super().send(request)


async def test_without_a_cap_more_and_more_requests_are_in_flight(clock):
    limiter = LocalLimiter(LimitsConfig(max_concurrency=None))
    with anyio.fail_after(60):
        for num_in_flight in (START, 2 * START, 4 * START):
            await send_many(Limits(Held(num_in_flight), limiter), 2 * num_in_flight)


async def test_no_slot_is_held_while_backing_off():
    # The first request waits a minute for its second attempt; the only slot is free meanwhile.
    async with (
        serve(FixedWorld(), faults=[failed(429, Retry_After="60")]) as server,
        AsyncExitStack() as stack,
    ):
        config = LimitsConfig(max_concurrency=1)
        model = Retry(limited(await endpoint(stack, server), config), 2)
        async with anyio.create_task_group() as group:
            group.start_soon(model.send, GENERATE)
            with anyio.fail_after(30):
                await server.until(lambda: server.num_requests == 1)
                assert (await model.send(GENERATE)).choices[0].text == "Tokyo"
            group.cancel_scope.cancel()
    assert server.num_requests == 2


async def test_failed_and_cancelled_requests_give_their_slots_back():
    async with serve(FixedWorld(), hold_until=2) as server, AsyncExitStack() as stack:
        model = limited(await endpoint(stack, server), LimitsConfig(max_concurrency=2))
        server.fail_first(*[failed(400)] * 4)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(model.send, GENERATE)
                await server.until(lambda: server.in_flight == 1)
                group.cancel_scope.cancel()
            while server.faults:
                with pytest.raises(LLMError):
                    await map_bounded(model.send, [GENERATE, GENERATE])
            await send_many(model, 4)


@given(
    st.floats(61.0, 6000.0),
    st.lists(st.tuples(st.floats(0.0, 300.0), st.floats(0.0, 90.0)), min_size=1, max_size=30),
)
async def test_no_minute_gets_more_than_the_allowance(allowance, asked):
    burst = allowance / 61
    granted: list[tuple[float, float]] = []
    with own_time() as clock:
        bucket = Bucket(allowance)
        for amount, pause in asked:
            clock.now += pause
            while (wait_s := bucket.wait_s(amount)) > 0:
                await clock.sleep(wait_s)
            bucket.take(amount)
            granted.append((clock.now, amount))
    for first, (begin, _) in enumerate(granted):
        minute = [amount for at, amount in granted[first:] if at - begin < 60]
        # What exceeds a burst is granted as a debt, which later grants pay.
        assert sum(minute) - max(0.0, minute[-1] - burst) <= allowance + 1e-3


@pytest.mark.parametrize("allowance", [1, 3, 7, 60, 90])
async def test_a_small_allowance_of_requests_is_kept_in_every_minute(clock, allowance):
    model = limited(Recorder(), LimitsConfig(requests_per_minute=allowance))
    granted = []
    for pause in [0, 0, 0, 0, 70, 0, 0, 5, *[0] * 100]:
        clock.now += pause
        await model.send(GENERATE)
        granted.append(clock.now)
    assert all(sum(begin <= at < begin + 60 for at in granted) <= allowance for begin in granted)


async def test_the_allowance_is_used_but_for_one_second_a_minute(clock):
    bucket = Bucket(600)
    for _ in range(6000):
        while (wait_s := bucket.wait_s(1)) > 0:
            await clock.sleep(wait_s)
        bucket.take(1)
    assert clock.now == pytest.approx(6000 / 600 * 61, abs=0.1)


async def test_requests_per_minute_are_kept(clock):
    model = limited(Recorder(), LimitsConfig(requests_per_minute=60))
    await send_many(model, 20)
    assert clock.now == pytest.approx(20 * 61 / 60, abs=0.01)


async def test_requests_come_through_in_order_of_arrival(clock):
    inner = Recorder()
    await send_many(limited(inner, LimitsConfig(requests_per_minute=60)), 20)
    assert [request.seed for request in inner.requests] == list(range(20))


async def test_tokens_that_were_not_used_are_given_back(clock):
    model = limited(Recorder(Usage(10, 2)), LimitsConfig(tokens_per_minute=6000))
    for _ in range(5):
        await model.send(GenerateRequest(messages=QUESTION, max_tokens=1000))
    # Five estimates of 1005 tokens would take at least 40 s at 100 tokens a second.
    assert clock.now < 5


async def test_tokens_used_beyond_the_estimate_are_paid_by_the_next_requests(clock):
    model = limited(Recorder(Usage(300, 200)), LimitsConfig(tokens_per_minute=6000))
    for _ in range(5):
        await model.send(GENERATE)
    # The last request waits for the 4 x 500 tokens before it, but for one burst of 100.
    assert clock.now >= (4 * 500 - 100) / 100


async def test_a_request_larger_than_the_burst_is_served(clock):
    model = limited(Recorder(), LimitsConfig(tokens_per_minute=60))
    await model.send(GenerateRequest(messages=QUESTION, max_tokens=10_000))
    assert clock.now > 0


async def test_the_share_of_an_estimate_that_is_used_is_learned_by_kind(clock):
    model = limited(Recorder(Usage(10, 2)), LimitsConfig(tokens_per_minute=6100))
    long = GenerateRequest(messages=QUESTION, max_tokens=1000)
    await map_bounded(model.send, [long] * 5)
    began = clock.now
    # Even side by side, where nothing is given back before the next one asks.
    await map_bounded(model.send, [long] * 50)
    assert clock.now - began <= 50 * 12 / 100 + 0.1
    began = clock.now
    await model.send(replace(long, role=Role.dev))
    assert clock.now - began >= 0.9


@pytest.mark.parametrize(
    ("error", "is_given_back"),
    [
        (TransientError("429", is_overload=True), True),
        (TransientError("500"), False),
        (RequestError("400"), False),
    ],
)
async def test_a_refused_attempt_gives_its_tokens_back_and_a_broken_one_may_have_used_them(
    clock, error, is_given_back
):
    class Failing:
        async def send(self, request: Sendable) -> Response:
            raise error

    limiter = LocalLimiter(LimitsConfig(tokens_per_minute=6100))
    with pytest.raises(LLMError):
        await Limits(Failing(), limiter).send(GenerateRequest(messages=QUESTION, max_tokens=995))
    began = clock.now
    await Limits(Recorder(), limiter).send(GenerateRequest(messages=QUESTION, max_tokens=100))
    assert (clock.now - began < 2) == is_given_back


async def test_an_endpoint_that_counts_no_tokens_is_held_to_the_estimates(clock):
    model = limited(Recorder(Usage(0, 0)), LimitsConfig(tokens_per_minute=6100))
    await map_bounded(model.send, [GenerateRequest(messages=QUESTION, max_tokens=95)] * 50)
    assert clock.now == pytest.approx(50, rel=0.05)


async def test_a_list_of_requests_is_one_request_and_many_texts(clock):
    listed = RequestList((SCORE,) * 8)
    inner = Recorder()
    config = LimitsConfig(requests_per_minute=61, max_concurrency=32)
    await map_bounded(limited(inner, config).send, [listed] * 10)
    assert clock.now == pytest.approx(10, abs=0.1)
    inner = Recorder()
    model = limited(inner, LimitsConfig(max_concurrency=32))
    await map_bounded(model.send, [listed] * 10)
    assert inner.max_in_flight == 2


async def test_a_scoring_of_several_calls_takes_as_many_of_the_requests_a_minute(clock):
    inner, limits_ = Recorder(), LimitsConfig(requests_per_minute=61)
    model = around_endpoint(inner, Route("chat", "prompt_logprobs"), limits_, LocalLimiter(limits_))
    scorings = [replace(SCORE, messages=(Message("user", str(i)),)) for i in range(10)]
    await map_bounded(model.send, [*scorings, GENERATE])
    # Three calls a scoring: one for its context and one for each of its two targets.
    assert clock.now == pytest.approx(10 * 3 + 1, abs=3)


async def test_a_request_larger_than_the_cap_goes_alone():
    inner = Recorder()
    model = limited(inner, LimitsConfig(max_concurrency=3))
    large = replace(SCORE, targets=tuple("abcdefgh"))
    await map_bounded(model.send, [large, GENERATE, large, GENERATE, large])
    assert inner.max_in_flight == 1
    assert inner.requests == [large, GENERATE, large, GENERATE, large]


async def test_small_requests_do_not_pass_a_large_one_that_waits():
    inner = Recorder()
    model = limited(inner, LimitsConfig(max_concurrency=4))
    large = replace(SCORE, targets=tuple("abcd"))
    requests = [GENERATE, GENERATE, large, *[GENERATE] * 8]
    await map_bounded(model.send, requests)
    assert inner.requests == requests


async def test_a_cancelled_request_that_waits_takes_nothing():
    inner = Recorder()
    model = limited(inner, LimitsConfig(max_concurrency=1))
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(model.send, GENERATE)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        await model.send(SCORE)


@pytest.mark.parametrize("is_overload", [True, False])
async def test_an_overload_leaves_fewer_requests_in_flight_and_another_failure_does_not(
    is_overload,
):
    class Overloaded(Recorder):
        async def send(self, request: Request) -> Response:
            await super().send(request)
            raise TransientError("try later", is_overload=is_overload)

    limiter = LocalLimiter(LimitsConfig(max_concurrency=16))
    for _ in range(10):
        with pytest.raises(TransientError):
            await Limits(Overloaded(), limiter).send(GENERATE)
    assert await greatest_in_flight(limiter, 2) == (1 if is_overload else 2)


async def test_a_timeout_counts_as_an_overload():
    class Hanging:
        async def send(self, request: Request) -> Response:
            raise TransientError("no answer") from TimeoutError()

    limiter = LocalLimiter(LimitsConfig(max_concurrency=2))
    with pytest.raises(TransientError):
        await Limits(Hanging(), limiter).send(GENERATE)
    assert await greatest_in_flight(limiter, 2) == 1


async def greatest_in_flight(limiter: LocalLimiter, count: int) -> int:
    inner = Recorder()
    await send_many(Limits(inner, limiter), count)
    return inner.max_in_flight


def test_an_estimate_counts_four_characters_a_token_and_all_that_may_be_generated():
    messages = (Message("user", "x" * 400),)
    assert estimate_tokens(GenerateRequest(messages=messages, max_tokens=50)) == 150
    assert estimate_tokens(SCORE) == (2 * len(QUESTION[0].text) + len("KyotoTokyo")) // 4
    assert estimate_tokens(RequestList((SCORE,) * 3)) == 3 * estimate_tokens(SCORE)
