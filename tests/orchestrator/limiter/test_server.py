"""The limiter's side by itself: reports in, allotments out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from dln_core.config import LimitsConfig
from orchestrator.limiter.messages import LEASE_S, Ask, Report, strictest
from orchestrator.limiter.server import LONGEST_GAP_S, REPORTS_PER_S, SharedLimits

CAP = 16
moves = st.tuples(
    st.integers(0, 3),  # who reports
    st.lists(st.sampled_from([1, 1, 2, 5]), max_size=8),  # what it asks for
    st.floats(0.0, 1.0),  # which part of what is in flight has ended
    st.booleans(),  # whether the answer arrives
    st.floats(0.0, 2.0),  # seconds until then
)


@settings(max_examples=60)
@given(st.lists(moves, max_size=60))
def test_what_clients_may_have_in_flight_never_exceeds_the_cap_even_if_answers_are_lost(history):
    clock = SimpleNamespace(now=0.0)
    shared = SharedLimits(clock=lambda: clock.now)
    limits = LimitsConfig(max_concurrency=CAP)
    in_flight, held, told_at = [0] * 4, [0] * 4, [0.0] * 4
    for who, sizes, ended, arrives, pause_s in history:
        clock.now += pause_s
        for client in range(4):
            if clock.now >= told_at[client] + LEASE_S:
                in_flight[client] = held[client] = 0
        in_flight[who] -= int(ended * in_flight[who])
        asks = tuple(Ask(size, 1, 0.0) for size in sizes)
        report = Report(
            client=str(who),
            limits=limits,
            num_in_flight=in_flight[who],
            num_held=held[who],
            asks=asks,
        )
        allotment = shared.exchange(report)
        told_at[who] = clock.now
        if arrives:
            held[who] = allotment.num_held
        # Every client starts all that it may, as single texts.
        in_flight[who] = max(in_flight[who], held[who] if asks else 0)
        assert sum(map(max, in_flight, held)) <= CAP


def test_a_call_larger_than_the_limit_goes_alone():
    shared = SharedLimits()
    limits = LimitsConfig(max_concurrency=4)
    small = Report(client="small", limits=limits, asks=(Ask(1, 1, 0.0),))
    large = Report(client="large", limits=limits, asks=(Ask(16, 1, 0.0),))
    assert shared.exchange(small).num_held >= 1
    assert shared.exchange(large).num_held < 16
    shared.exchange(Report(client="small", limits=limits, leaves=True))
    assert shared.exchange(large).num_held == 16
    assert shared.exchange(small).num_held == 0


def test_the_limits_of_a_client_that_left_or_fell_silent_hold_no_longer():
    clock = SimpleNamespace(now=0.0)
    shared = SharedLimits(clock=lambda: clock.now)
    wide = Report(
        client="wide", limits=LimitsConfig(max_concurrency=16), asks=(Ask(1, 1, 0.0),) * 16
    )
    strict = Report(client="strict", limits=LimitsConfig(max_concurrency=2), asks=(Ask(1, 1, 0.0),))
    for has_left in (True, False):
        shared.exchange(wide)
        shared.exchange(strict)
        assert shared.exchange(wide).num_held <= 2
        if has_left:
            shared.exchange(replace(strict, leaves=True))
        else:
            clock.now += LEASE_S / 2
            shared.exchange(wide)
            clock.now += LEASE_S / 2 + 1
        assert shared.exchange(wide).num_held > 2


def test_where_a_rate_is_kept_every_call_is_granted_by_name():
    clock = SimpleNamespace(now=0.0)
    shared = SharedLimits(clock=lambda: clock.now)
    limits = LimitsConfig(requests_per_minute=610)
    report = Report(client="a", limits=limits, asks=(Ask(1, 1, 0.0),) * 20)
    assert shared.exchange(report).num_granted == 0
    clock.now = 0.55
    allotment = shared.exchange(report)
    assert (allotment.num_granted, allotment.num_held) == (5, 0)


def test_a_single_call_larger_than_a_burst_is_granted_as_a_debt():
    clock = SimpleNamespace(now=0.0)
    shared = SharedLimits(clock=lambda: clock.now)
    limits = LimitsConfig(tokens_per_minute=6100)
    report = Report(client="a", limits=limits, asks=(Ask(1, 1, 1000.0),) * 2)
    shared.exchange(report)
    clock.now = 1.0
    assert shared.exchange(report).num_granted == 1
    clock.now = 10.9
    assert shared.exchange(report).num_granted == 0
    clock.now = 11.1
    assert shared.exchange(report).num_granted == 1


def test_the_strictest_of_what_clients_were_told_holds():
    first = LimitsConfig(requests_per_minute=100, max_concurrency=None)
    second = LimitsConfig(requests_per_minute=60, tokens_per_minute=1000, max_concurrency=8)
    together = strictest([first, second])
    assert (together.requests_per_minute, together.tokens_per_minute) == (60, 1000)
    assert together.max_concurrency == 8
    shared = SharedLimits()
    asks = (Ask(1, 1, 0.0),) * 64
    for client, cap in (("a", 64), ("b", 4)):
        limits = LimitsConfig(max_concurrency=cap)
        shared.exchange(Report(client=client, limits=limits))
    report = Report(client="a", limits=LimitsConfig(max_concurrency=64), asks=asks)
    assert shared.exchange(report).num_held <= 4


def test_many_clients_report_no_more_often_together_than_one_process_can_answer():
    shared = SharedLimits()
    gaps = [
        shared.exchange(Report(client=str(number), limits=LimitsConfig())).again_s
        for number in range(500)
    ]
    assert gaps[-1] == 500 / REPORTS_PER_S
    assert max(gaps) <= LONGEST_GAP_S < LEASE_S


def test_two_clients_never_wait_for_what_is_kept_for_the_other():
    clock = SimpleNamespace(now=0.0)
    shared = SharedLimits(clock=lambda: clock.now)
    limits = LimitsConfig(requests_per_minute=61, tokens_per_minute=6100)

    def grants(seconds: float, tokens: dict[str, float]) -> list[str]:
        granted = []
        end = clock.now + seconds
        while clock.now < end:
            for client, amount in tokens.items():
                clock.now += 0.1
                report = Report(client=client, limits=limits, asks=(Ask(1, 1, amount),))
                granted += [client] * shared.exchange(report).num_granted
        return granted

    # The one has made fewer calls, the other has used fewer tokens.
    assert grants(2, {"large": 1000.0}) == ["large"]
    assert len(grants(20, {"small": 10.0})) >= 5
    granted = grants(60, {"large": 500.0, "small": 500.0})
    assert len(granted) >= 10
    assert abs(granted.count("large") - granted.count("small")) <= 1
