"""Telling an outage during the probe from what an endpoint cannot do, or may not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dln_core.errors import AuthenticationError, UnreachableError
from dln_core.llm.base import Request
from tests.core.llm.test_capabilities import CHAT_SAMPLES, CHAT_SCORE, TEXT_SCORE, found
from tests.core.llm.toys import CITIES, FixedWorld
from tests.faults import RESET, Fault, failed
from tests.servers import OpenAIServer, serve

OUTAGES = {
    "429": failed(429),
    "503": failed(503),
    "504": failed(504),
    "529": failed(529),
    "reset": RESET,
}


class ThenFailing:
    """A world that has its server fail, in order, right after it was asked a number of times."""

    def __init__(self, *faults: Fault, after: int = 2) -> None:
        self._faults = faults
        self._num_left = after
        self.server: OpenAIServer | None = None

    def distribution(self, request: Request) -> Mapping[str, float]:
        self._num_left -= 1
        if self._num_left == 0 and self.server is not None:
            self.server.fail_first(*self._faults)
        return CITIES


@asynccontextmanager
async def serve_then_fail(
    *faults: Fault, after: int = 2, **switches: Any
) -> AsyncIterator[OpenAIServer]:
    """A server that answers the greedy continuation and its log-probs, then fails."""
    world = ThenFailing(*faults, after=after)
    async with serve(world, **switches) as server:
        world.server = server
        yield server


async def test_a_passing_fault_during_the_probe_does_not_lower_the_rung():
    async with serve(FixedWorld(), faults=[failed(503), RESET]) as server:
        assert await found(server) == CHAT_SCORE


async def test_a_route_that_keeps_failing_is_refused_and_the_others_are_tried():
    # Three attempts at the chat route: its failure is no outage of the endpoint.
    async with serve(FixedWorld(), faults=[failed(500, "CUDA error")] * 3) as server:
        route = await found(server)
    assert route == TEXT_SCORE
    assert re.match("score over chat: .*500: CUDA error", route.refused[0])


async def test_an_endpoint_of_which_every_route_fails_is_out_of_reach():
    async with serve(FixedWorld(), faults=[failed(500, "CUDA error")] * 6) as server:
        with pytest.raises(UnreachableError, match="500: CUDA error"):
            await found(server)
        # Each api is tried once, however many rungs it has.
        assert server.num_requests == 6


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("after", [1, 2])
async def test_an_outage_after_the_first_answer_is_waited_out_and_lowers_no_rung(fault, after):
    async with serve_then_fail(*[fault] * 5, after=after) as server:
        assert await found(server) == CHAT_SCORE
        assert server.num_requests == 3 + 5


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("rung", ["auto", "score"])
@pytest.mark.parametrize("after", [1, 2])
async def test_an_outage_that_lasts_is_told_and_lowers_no_rung(fault, rung, after):
    async with serve_then_fail(*[fault] * 9, after=after) as server:
        with pytest.raises(UnreachableError, match="gave up after 5 attempts"):
            await found(server, rung, max_attempts=5)
        assert server.num_requests == after + 5


async def test_a_first_contact_that_is_never_answered_is_given_up_soon():
    async with serve(FixedWorld(), faults=[failed(503)] * 9) as server:
        with pytest.raises(UnreachableError, match="gave up after 3 attempts"):
            await found(server)
        assert server.num_requests == 3


@pytest.mark.parametrize("status", [500, 502])
async def test_a_rung_that_keeps_failing_while_texts_are_written_is_refused(status):
    async with serve_then_fail(*[failed(status, "no such kernel")] * 3) as server:
        route = await found(server)
    assert route == TEXT_SCORE
    assert re.match(f"score over chat: .*{status}: no such kernel", route.refused[0])


async def test_log_probs_of_texts_that_keep_failing_do_not_refuse_the_rung():
    async with serve_then_fail(*[failed(500)] * 3, after=1) as server:
        assert await found(server) == CHAT_SCORE


@pytest.mark.parametrize("after", [1, 2])
async def test_while_a_server_starts_anew_behind_a_proxy_no_rung_is_refused(after):
    # The proxy answers what was answered before by 502 too.
    async with serve_then_fail(*[failed(502)] * 6, after=after) as server:
        route = await found(server)
    assert (route, route.refused) == (CHAT_SCORE, ())


async def test_a_server_that_does_not_start_again_is_out_of_reach():
    async with serve_then_fail(*[failed(502)] * 99) as server:
        with pytest.raises(UnreachableError, match="502"):
            await found(server, max_attempts=4)


async def test_a_gateway_that_forbids_unknown_paths_has_not_refused_the_key():
    forbidden = failed(403, "Missing Authentication Token")
    async with serve_then_fail(forbidden) as server:
        route = await found(server)
    assert route == TEXT_SCORE
    assert "score over chat" in route.refused[0]


async def test_a_model_whose_log_probs_are_forbidden_is_sampled():
    forbidden = failed(403, "You are not allowed to request logprobs from this model")
    # Log-probs of the text, then the rung label.
    only_chat = {"routes": frozenset({"chat/completions"})}
    async with serve_then_fail(forbidden, forbidden, after=1, **only_chat) as server:
        route = await found(server, api="chat")
    assert route == CHAT_SAMPLES
    assert re.match(r"label over chat: .*llm\.omit=\[logprobs\]", route.refused[-1])


async def test_what_is_forbidden_before_any_answer_is_a_refused_key():
    async with serve(FixedWorld(), faults=[failed(403, "no")]) as server:
        with pytest.raises(AuthenticationError, match="refused the key"):
            await found(server)
        assert server.num_requests == 1


async def test_a_key_that_is_revoked_during_the_probe_ends_it():
    async with serve_then_fail(failed(401, "revoked")) as server:
        with pytest.raises(AuthenticationError, match="revoked"):
            await found(server)
