"""Clients and limiter together, in virtual time."""

from __future__ import annotations

import random

import anyio
import pytest

from dln_core.config import LimitsConfig
from dln_core.llm.adaptive import START
from dln_core.llm.limits import Cost, Outcome
from orchestrator.limiter.messages import LEASE_S, POLL_S
from orchestrator.limiter.server import RESTART_PAUSE_S
from tests.orchestrator.limiter.toys import Toy, busy_for
from tests.virtual_time import run_virtually

NO_CAP = LimitsConfig(max_concurrency=None)
ONE = Cost(kind="toy", num_calls=1, num_texts=1, tokens=100)


def minutes(toy: Toy) -> list[tuple[int, int]]:
    """Calls and tokens of the minute that begins with every fortieth call."""
    begins = [one.at for one in toy.started][::40]
    windows = [[one for one in toy.started if at <= one.at < at + 60] for at in begins]
    return [(len(calls), sum(one.tokens for one in calls)) for calls in windows]


@pytest.mark.parametrize(
    "limits",
    [
        LimitsConfig(requests_per_minute=1200),
        LimitsConfig(tokens_per_minute=120_000),
        LimitsConfig(requests_per_minute=1200, tokens_per_minute=125_000, max_concurrency=64),
    ],
)
def test_rates_are_used_and_kept_by_eight_clients_that_get_equal_parts(limits):
    async def main() -> Toy:
        toy = Toy(limits)
        await busy_for(65, toy, 8)
        return toy

    toy = run_virtually(main)
    # Tokens are estimates until a call is over.
    allowed = (limits.requests_per_minute or 1205, limits.tokens_per_minute or 120_500)
    assert all(calls <= allowed[0] and tokens <= allowed[1] for calls, tokens in minutes(toy))
    assert len(toy.started) >= 0.95 * 1200 * 65 / 60
    parts = toy.texts_by_client()
    assert min(parts.values()) >= 0.9 * len(toy.started) / 8


@pytest.mark.parametrize(
    ("cap", "num_texts", "least_use"),
    [(32, (1,), 0.95), (4, (1,), 0.9), (40, (16,), 0.7), (32, (1, 2, 3), 0.8), (32, (1, 16), 0.6)],
)
def test_the_cap_is_kept_and_used_by_eight_clients_that_get_equal_parts(cap, num_texts, least_use):
    async def main() -> Toy:
        toy = Toy(LimitsConfig(max_concurrency=cap), num_texts, latency_s=(1.0, 1.0))
        await busy_for(30, toy, 8)
        return toy

    toy = run_virtually(main)
    parts = toy.texts_by_client()
    assert toy.max_in_flight <= cap
    assert sum(parts.values()) >= least_use * cap * 30
    assert min(parts.values()) >= 0.7 * sum(parts.values()) / 8


def test_who_asks_for_little_gets_it_and_the_rest_is_used_by_others():
    async def main() -> Toy:
        toy = Toy(LimitsConfig(max_concurrency=32), latency_s=(1.0, 1.0))
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(toy.keep_busy, 0, 2)
                tasks.start_soon(toy.keep_busy, 1, 40)
        return toy

    parts = run_virtually(main).texts_by_client()
    assert parts[0] >= 0.9 * 2 * 60
    assert parts[1] >= 0.9 * 30 * 58


@pytest.mark.parametrize(
    "limits", [LimitsConfig(requests_per_minute=600), LimitsConfig(max_concurrency=1)]
)
def test_who_comes_later_gets_an_equal_part_from_then_on(limits):
    async def main() -> Toy:
        toy = Toy(limits, latency_s=(0.1, 0.1))
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(toy.keep_busy, 0)
                await anyio.sleep(30)
                tasks.start_soon(toy.keep_busy, 1)
        return toy

    parts = run_virtually(main).texts_by_client(since=30)
    assert parts[0] == pytest.approx(parts[1], rel=0.25)


def test_a_client_alone_calls_without_waiting_and_grows_beyond_the_start():
    async def main() -> tuple[Toy, float]:
        toy = Toy(NO_CAP)
        limiter, rng = toy.client(), random.Random(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.run)
            await toy.call(0, limiter, rng)
            began = anyio.current_time()
            async with anyio.create_task_group() as calls:
                for _ in range(3 * START):
                    calls.start_soon(toy.call, 0, limiter, rng)
            took = anyio.current_time() - began
            tasks.cancel_scope.cancel()
        return toy, took

    toy, took = run_virtually(main)
    assert toy.max_in_flight > START
    assert took < 3 * 1.5 + 3 * POLL_S


def test_the_texts_of_a_client_that_dies_go_to_the_others_after_its_lease():
    async def main() -> Toy:
        toy = Toy(LimitsConfig(max_concurrency=8), latency_s=(1.0, 1.0))
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(toy.keep_busy, 0)
                with anyio.move_on_after(20):
                    await toy.keep_busy(1)
                died = anyio.current_time()
                await anyio.sleep(LEASE_S + 3)
                toy.started.clear()
                await anyio.sleep(20)
                assert died == pytest.approx(20)
                assert toy.texts_by_client() == {0: pytest.approx(8 * 20, abs=8)}
        return toy

    assert run_virtually(main).max_in_flight <= 8


def test_nothing_is_started_while_the_limiter_is_away_and_all_go_on_afterwards():
    async def main() -> None:
        toy = Toy(LimitsConfig(max_concurrency=16))

        async def outage() -> None:
            await anyio.sleep(20)
            toy.is_away = True
            # Until then they may use what they were given.
            await anyio.sleep(LEASE_S + 2)
            toy.started.clear()
            await anyio.sleep(40)
            assert not toy.started
            toy.is_away = False
            await anyio.sleep(10)
            assert len(toy.texts_by_client()) == 4
            assert sum(toy.texts_by_client().values()) >= 0.7 * 16 * 9

        await busy_for(90, toy, 4, outage)
        assert toy.max_in_flight <= 16

    run_virtually(main)


@pytest.mark.parametrize(
    "limits", [LimitsConfig(max_concurrency=16), LimitsConfig(requests_per_minute=600)]
)
def test_a_limiter_that_starts_anew_exceeds_no_limit(limits):
    async def main() -> Toy:
        toy = Toy(limits)

        async def deaths() -> None:
            for _ in range(3):
                await anyio.sleep(15)
                toy.is_away = True
                await anyio.sleep(1)
                toy.restart(RESTART_PAUSE_S)
                toy.is_away = False

        await busy_for(70, toy, 6, deaths)
        return toy

    toy = run_virtually(main)
    assert toy.max_in_flight <= (limits.max_concurrency or START)
    assert max(calls for calls, _ in minutes(toy)) <= (limits.requests_per_minute or 10**6)
    assert min(toy.texts_by_client(since=60).values()) > 0


def test_when_the_endpoint_asks_one_client_to_wait_all_wait():
    async def main() -> None:
        toy = Toy(LimitsConfig(max_concurrency=16))

        async def refusal() -> None:
            limiter = toy.client()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(limiter.run)
                lease = await limiter.acquire(ONE)
                lease.settle(Outcome.overloaded, 0, retry_after_s=30.0)
                await anyio.sleep(2)
                toy.started.clear()
                await anyio.sleep(27)
                assert not toy.started
                await anyio.sleep(5)
                assert len(toy.texts_by_client()) == 4
                tasks.cancel_scope.cancel()

        await busy_for(60, toy, 4, refusal)

    run_virtually(main)


def test_an_overload_of_one_client_halves_what_all_have_in_flight():
    async def main() -> None:
        toy = Toy(LimitsConfig(max_concurrency=32), latency_s=(1.0, 1.0))

        async def refusal() -> None:
            limiter = toy.client()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(limiter.run)
                await anyio.sleep(20)
                lease = await limiter.acquire(ONE)
                lease.settle(Outcome.overloaded, 0)
                await anyio.sleep(1.5)
                toy.max_in_flight = toy.num_in_flight
                await anyio.sleep(0.5)
                assert toy.max_in_flight <= 16 + 4
                tasks.cancel_scope.cancel()

        await busy_for(30, toy, 4, refusal)

    run_virtually(main)


def test_cancelled_calls_take_nothing():
    async def main() -> None:
        toy = Toy(LimitsConfig(requests_per_minute=61, max_concurrency=2))
        limiter = toy.client()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.run)
            with anyio.move_on_after(5.5):
                async with anyio.create_task_group() as calls:
                    for seed in range(10):
                        calls.start_soon(toy.call, 0, limiter, random.Random(seed))
            num_started = len(toy.started)
            assert toy.num_in_flight == limiter.num_in_flight == 0
            for seed in range(10):
                await toy.call(0, limiter, random.Random(seed))
            assert anyio.current_time() <= num_started + 10 * 1.5 + 3
            tasks.cancel_scope.cancel()

    run_virtually(main)


def test_idle_clients_are_silent_and_hold_nothing():
    async def main() -> None:
        toy = Toy(LimitsConfig(max_concurrency=8), latency_s=(1.0, 1.0))
        idle = toy.client()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(idle.run)
            await toy.call(0, idle, random.Random(0))
            await anyio.sleep(0.1)
            toy.started.clear()
            tasks.start_soon(toy.keep_busy, 1)
            await anyio.sleep(20)
            assert toy.texts_by_client()[1] == pytest.approx(8 * 20, abs=8)
            await anyio.sleep(LEASE_S)
            assert toy.shared.num_clients == 1
            tasks.cancel_scope.cancel()

    run_virtually(main)
