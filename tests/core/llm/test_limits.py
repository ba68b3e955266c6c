"""Staying within an endpoint's limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.concurrency import map_bounded
from dln_core.config import LimitsConfig
from dln_core.errors import LLMError
from dln_core.llm import limits
from dln_core.llm.base import GenerateRequest, LanguageModel
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.limits import Bucket, Limits, estimate_tokens
from dln_core.llm.retry import Retry
from dln_core.types import Message, Usage
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
        patch.setattr(limits, "time", clock)
        sleeping = {"Lock": anyio.Lock, "Semaphore": anyio.Semaphore, "sleep": clock.sleep}
        patch.setattr(limits, "anyio", SimpleNamespace(**sleeping))
        yield clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    with own_time() as running:
        yield running


async def send_many(model: LanguageModel, count: int) -> None:
    requests = [GenerateRequest(messages=QUESTION, max_tokens=8, seed=i) for i in range(count)]
    await map_bounded(model.send, requests)


async def endpoint(stack: AsyncExitStack, server: OpenAIServer) -> Endpoint:
    config = endpoint_config(server.base_url)
    session = await stack.enter_async_context(open_session(config))
    return Endpoint(config, session, api="chat", rung="score")


@pytest.mark.parametrize(("cap", "share", "expected"), [(3, 1, 3), (6, 2, 3), (7, 2, 3), (2, 5, 1)])
async def test_the_server_never_sees_more_than_its_share_of_the_cap(cap, share, expected):
    async with serve(FixedWorld(), hold_until=expected) as server, AsyncExitStack() as stack:
        config = LimitsConfig(max_concurrency=cap)
        model = Limits(await endpoint(stack, server), config, share)
        with anyio.fail_after(60):
            await send_many(model, 12)
    assert server.max_in_flight == expected
    assert server.num_requests == 12


async def test_without_a_cap_all_requests_are_in_flight_at_once():
    async with serve(FixedWorld(), hold_until=40) as server, AsyncExitStack() as stack:
        model = Limits(await endpoint(stack, server), LimitsConfig(max_concurrency=None))
        with anyio.fail_after(60):
            await send_many(model, 40)
    assert server.max_in_flight == 40


async def test_no_slot_is_held_while_backing_off():
    # The first request waits a minute for its second attempt; the only slot is free meanwhile.
    async with (
        serve(FixedWorld(), faults=[failed(429, Retry_After="60")]) as server,
        AsyncExitStack() as stack,
    ):
        config = LimitsConfig(max_concurrency=1)
        model = Retry(Limits(await endpoint(stack, server), config), 2)
        async with anyio.create_task_group() as group:
            group.start_soon(model.send, GENERATE)
            with anyio.fail_after(30):
                await server.until(lambda: server.num_requests == 1)
                assert (await model.send(GENERATE)).choices[0].text == "Tokyo"
            group.cancel_scope.cancel()
    assert server.num_requests == 2


async def test_failed_and_cancelled_requests_give_their_slots_back():
    async with serve(FixedWorld(), hold_until=2) as server, AsyncExitStack() as stack:
        model = Limits(await endpoint(stack, server), LimitsConfig(max_concurrency=2))
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
    st.floats(1.0, 6000.0),
    st.lists(st.floats(0.0, 300.0), min_size=1, max_size=30),
)
async def test_a_bucket_grants_at_most_its_rate_and_one_burst_in_any_window(rate, amounts):
    per_second = rate / 60
    burst = max(1.0, per_second)
    granted: list[tuple[float, float]] = []
    with own_time() as clock:
        bucket = Bucket(rate)
        for amount in amounts:
            await bucket.take(amount)
            granted.append((clock.now, amount))
    for first in range(len(granted)):
        total = 0.0
        for at, amount in granted[first:]:
            allowed = per_second * (at - granted[first][0]) + burst
            # What exceeds a burst is granted as a debt, which later grants pay.
            assert total + min(amount, burst) <= allowed + 1e-3
            total += amount
    assert granted[-1][0] <= sum(amounts) / per_second + 0.01


@pytest.mark.parametrize(("share", "seconds"), [(1, 20), (4, 80)])
async def test_requests_per_minute_are_divided_by_the_share(clock, share, seconds):
    model = Limits(Recorder(), LimitsConfig(requests_per_minute=60), share)
    await send_many(model, 20)
    assert clock.now == pytest.approx(seconds, abs=0.01)


async def test_requests_come_through_in_order_of_arrival(clock):
    inner = Recorder()
    await send_many(Limits(inner, LimitsConfig(requests_per_minute=60)), 20)
    assert [request.seed for request in inner.requests] == list(range(20))


async def test_tokens_that_were_not_used_are_given_back(clock):
    model = Limits(Recorder(Usage(10, 2)), LimitsConfig(tokens_per_minute=6000))
    for _ in range(5):
        await model.send(GenerateRequest(messages=QUESTION, max_tokens=1000))
    # Five estimates of 1005 tokens would take at least 40 s at 100 tokens a second.
    assert clock.now < 5


async def test_tokens_used_beyond_the_estimate_are_paid_by_the_next_requests(clock):
    model = Limits(Recorder(Usage(300, 200)), LimitsConfig(tokens_per_minute=6000))
    for _ in range(5):
        await model.send(GENERATE)
    # The last request waits for the 4 x 500 tokens before it, but for one burst of 100.
    assert clock.now >= (4 * 500 - 100) / 100


async def test_a_request_larger_than_the_burst_is_served(clock):
    model = Limits(Recorder(), LimitsConfig(tokens_per_minute=60))
    await model.send(GenerateRequest(messages=QUESTION, max_tokens=10_000))
    assert clock.now > 0


def test_an_estimate_counts_four_characters_a_token_and_all_that_may_be_generated():
    messages = (Message("user", "x" * 400),)
    assert estimate_tokens(GenerateRequest(messages=messages, max_tokens=50)) == 150
    assert estimate_tokens(SCORE) == (2 * len(QUESTION[0].text) + len("KyotoTokyo")) // 4
