"""How many texts an endpoint can usefully have in flight; the clock is simulated."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from dln_core.llm.adaptive import START, AdaptiveConcurrency

Latency = Callable[[int], float]


def run(
    concurrency: AdaptiveConcurrency,
    latency: Latency,
    num_texts: int,
    *,
    demand: int = 10**6,
    refused_above: float = float("inf"),
    begin: float = 0.0,
) -> tuple[list[int], float]:
    """Serve texts at a latency that depends on how many are in flight.

    Returns:
        The limit after every answer, and the time of the last one.
    """
    in_flight: list[tuple[float, int, float, bool]] = []
    limits, now, number = [], begin, 0
    while len(limits) < num_texts:
        while len(in_flight) < min(demand, concurrency.limit):
            number += 1
            is_refused = len(in_flight) >= refused_above
            taken = 0.01 if is_refused else latency(len(in_flight) + 1)
            heapq.heappush(in_flight, (now + taken, number, now, is_refused))
        if demand > concurrency.limit:
            concurrency.hold_up()
        now, _, sent_at, is_refused = heapq.heappop(in_flight)
        if is_refused:
            concurrency.overload(sent_at, now)
        else:
            concurrency.answer(1, sent_at, now)
        limits.append(concurrency.limit)
    return limits, now


def unlimited(num: int) -> float:
    return 1.0


def batching(num: int) -> float:
    """Each answer is slower with more of them in flight, but all are faster."""
    return 1.0 + 0.01 * num


def workers(count: int) -> Latency:
    """So many texts are computed at a time; the others wait."""
    return lambda num: max(1.0, num / count)


def test_it_begins_small_and_doubles_while_the_endpoint_keeps_up():
    limits, now = run(AdaptiveConcurrency(1024), unlimited, 4000)
    assert limits[0] == START
    assert limits[-1] == 1024
    # From 32 to 1024 there are five doublings, each after a second's round trip.
    assert now < 10


@pytest.mark.parametrize("cap", [1, 3, 31, 100])
def test_it_never_exceeds_the_cap(cap):
    limits, _ = run(AdaptiveConcurrency(cap), unlimited, 2000)
    assert max(limits) == cap
    assert limits[0] == min(cap, START)


def test_without_a_cap_it_grows_as_long_as_there_is_demand():
    limits, _ = run(AdaptiveConcurrency(None), unlimited, 20_000)
    assert limits[-1] > 2000
    limits, _ = run(AdaptiveConcurrency(None), unlimited, 20_000, demand=50)
    assert limits[-1] <= 128


def test_an_endpoint_that_computes_in_batches_is_not_punished_for_being_slower():
    limits, _ = run(AdaptiveConcurrency(256), batching, 10_000)
    assert limits[-1] == 256
    assert limits == sorted(limits)


@pytest.mark.parametrize("seed", range(8))
def test_requests_of_different_lengths_are_not_taken_for_a_saturated_endpoint(seed):
    rng = random.Random(seed)

    def uneven(num: int) -> float:
        return batching(num) * rng.lognormvariate(0, 0.5)

    limits, _ = run(AdaptiveConcurrency(128), uneven, 10_000)
    assert sum(limits) / len(limits) > 110


@pytest.mark.parametrize("count", [4, 20, 40])
def test_a_queue_that_only_gets_longer_is_not_lengthened(count):
    limits, _ = run(AdaptiveConcurrency(None), workers(count), 20_000)
    last = limits[10_000:]
    assert max(last) <= 2 * max(START, count)
    # Latency alone never takes it below where it began.
    assert min(limits) >= START


def test_growth_that_ended_begins_again_when_the_endpoint_got_faster():
    concurrency = AdaptiveConcurrency(512)
    limits, now = run(concurrency, workers(20), 5000)
    assert limits[-1] < 2 * START
    limits, _ = run(concurrency, unlimited, 100_000, begin=now)
    assert limits[-1] > 200


def test_an_overload_halves_it_once_a_round_trip_and_down_to_one():
    concurrency = AdaptiveConcurrency(64)
    for _ in range(START):
        concurrency.overload(sent_at=0.0, now=1.0)
    assert concurrency.limit == START // 2
    for second in range(2, 20):
        concurrency.overload(sent_at=second, now=second)
    assert concurrency.limit == 1


@pytest.mark.parametrize("allowed", [1, 8, 50, 200])
def test_an_endpoint_that_refuses_too_many_at_once_is_kept_near_what_it_takes(allowed):
    limits, _ = run(AdaptiveConcurrency(None), unlimited, 40_000, refused_above=allowed)
    last = limits[20_000:]
    assert max(last) <= allowed + 4
    assert sum(last) / len(last) >= allowed / 2


def test_what_was_sent_under_an_earlier_limit_says_nothing_about_this_one():
    concurrency = AdaptiveConcurrency(64)
    concurrency.overload(sent_at=0.0, now=5.0)
    limit = concurrency.limit
    concurrency.hold_up()
    concurrency.answer(limit, sent_at=1.0, now=6.0)
    assert concurrency.limit == limit
    concurrency.answer(limit, sent_at=5.5, now=6.5)
    assert concurrency.limit > limit
