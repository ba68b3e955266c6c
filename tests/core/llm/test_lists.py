"""Scorings that are asked at the same moment go to the endpoint in one call."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from dln_core.concurrency import map_bounded, map_surviving
from dln_core.config import LimitsConfig
from dln_core.errors import ContextLengthError, RequestError, UnreachableError
from dln_core.llm.base import (
    Choice,
    GenerateRequest,
    Request,
    RequestList,
    Response,
    ScoreRequest,
    Sendable,
    num_sequences,
)
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import around_endpoint
from dln_core.llm.http import Endpoint as HTTPEndpoint
from dln_core.llm.http import open_session
from dln_core.llm.lists import MAX_SEQUENCES, Lists
from dln_core.llm.local_limiter import LocalLimiter
from dln_core.types import Message, Role, Usage
from tests.core.llm.toys import GENERATE, SCORE, FixedWorld, endpoint_config
from tests.servers import serve

LIMITS = LimitsConfig()


class Endpoint:
    """Answers requests and lists by their last message; refuses what holds a refused text."""

    def __init__(self, refused: str = "refused") -> None:
        self.refused = refused
        self.calls: list[Sendable] = []
        self.called, self.may_answer = anyio.Semaphore(0), anyio.Event()
        self.may_answer.set()

    async def send(self, request: Sendable) -> Response:
        self.calls.append(request)
        self.called.release()
        await self.may_answer.wait()
        requests = request.requests if isinstance(request, RequestList) else (request,)
        if any(self.refused in one.messages[-1].text for one in requests):
            raise ContextLengthError("too long")
        parts = tuple(self._answer(one) for one in requests)
        if not isinstance(request, RequestList):
            return parts[0]
        return Response((), sum((part.usage for part in parts), Usage()), parts=parts)

    def _answer(self, request: Request) -> Response:
        texts = request.targets if isinstance(request, ScoreRequest) else ("",)
        return Response(tuple(Choice(request.messages[-1].text + t) for t in texts), Usage(3, 1))


def about(text: str, request: Request = SCORE) -> Request:
    return replace(request, messages=(Message("user", text),))


def scoring(text: str, num_targets: int = 1) -> Request:
    return replace(about(text), targets=tuple(str(i) for i in range(num_targets)))


async def test_a_burst_of_scorings_needs_few_calls_and_each_gets_its_own_answer():
    inner = Endpoint()
    requests = [scoring(f"text {i} ") for i in range(2000)]
    responses = await map_bounded(Lists(inner).send, requests)
    assert [r.choices[0].text for r in responses] == [f"text {i} 0" for i in range(2000)]
    assert len(inner.calls) <= 2000 / 8


@pytest.mark.parametrize("request_", [GENERATE, SCORE])
async def test_a_lone_request_is_sent_as_it_is(request_):
    inner = Endpoint()
    await Lists(inner).send(request_)
    assert inner.calls == [request_]


async def test_generations_go_alone_for_a_list_does_not_tell_the_tokens_of_each():
    inner = Endpoint()
    asked = [*(about(text, GENERATE) for text in "abc"), *(about(text) for text in "abc")]
    await map_bounded(Lists(inner).send, asked)
    assert [call for call in inner.calls if isinstance(call, GenerateRequest)] == asked[:3]
    assert [call.requests for call in inner.calls if isinstance(call, RequestList)] == [
        tuple(asked[3:])
    ]


async def test_the_role_does_not_keep_requests_apart():
    inner = Endpoint()
    await map_bounded(Lists(inner).send, [replace(about(r), role=r) for r in Role])
    assert len(inner.calls) == 1


async def test_a_call_holds_a_bounded_number_of_texts():
    inner = Endpoint()
    sizes = [1, 5, 12, 9, 7, MAX_SEQUENCES, 3, MAX_SEQUENCES + 1, 2]
    await map_bounded(Lists(inner).send, [scoring(str(i), n) for i, n in enumerate(sizes)])
    assert sum(map(num_sequences, inner.calls)) == sum(sizes)
    (largest,) = [call for call in inner.calls if num_sequences(call) > MAX_SEQUENCES]
    assert isinstance(largest, ScoreRequest)


async def test_of_a_refused_list_only_the_offending_request_fails():
    inner = Endpoint()
    texts = ["a", "b", "refused c", "d"]
    outcomes = await map_surviving(Lists(inner).send, [about(text) for text in texts])
    assert [type(outcome) for outcome in outcomes] == [
        *(Response, Response, ContextLengthError, Response)
    ]
    assert len(inner.calls) == 1 + 4


async def test_a_refused_lone_request_is_not_sent_again():
    inner = Endpoint()
    with pytest.raises(RequestError):
        await Lists(inner).send(about("refused"))
    assert len(inner.calls) == 1


async def test_an_unreachable_endpoint_fails_all_of_a_list():
    class Down:
        num_calls = 0

        async def send(self, request: Sendable) -> Response:
            self.num_calls += 1
            raise UnreachableError("down")

    lists, caught = Lists(down := Down()), []

    async def ask(request: Request) -> None:
        try:
            await lists.send(request)
        except UnreachableError as error:
            caught.append(error)

    await map_bounded(ask, [about(text) for text in "abc"])
    assert (len(caught), down.num_calls) == (3, 1)


@pytest.mark.parametrize("cancelled", [{0}, {2}, {0, 1, 3}])
async def test_cancelled_members_do_not_fail_the_others(cancelled):
    inner = Endpoint()
    inner.may_answer = anyio.Event()
    lists = Lists(inner)
    scopes = [anyio.CancelScope() for _ in range(5)]
    answered = {}

    async def ask(number: int) -> None:
        with scopes[number]:
            answered[number] = (await lists.send(about(str(number)))).choices[0].text

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
        await inner.called.acquire()
        for number in cancelled:
            scopes[number].cancel()
        if 0 in cancelled:
            # The first sent the list; another sends it without those who left.
            await inner.called.acquire()
        inner.may_answer.set()
    assert answered == {number: f"{number}Kyoto" for number in set(range(5)) - cancelled}
    num_sent = 5 - len(cancelled) if 0 in cancelled else 5
    assert num_sequences(inner.calls[-1]) == num_sent * len(SCORE.targets)


async def test_a_cancelled_lone_member_cancels_its_call():
    inner = Endpoint()
    inner.may_answer = anyio.Event()
    lists = Lists(inner)
    async with anyio.create_task_group() as group:
        group.start_soon(lists.send, SCORE)
        await inner.called.acquire()
        group.cancel_scope.cancel()
    inner.may_answer.set()
    await lists.send(SCORE)
    assert len(inner.calls) == 2


async def test_a_scoring_by_echo_gets_and_counts_the_same_in_a_list_as_alone():
    cities = ("Kyoto", "Osaka Bay", "Tokyo")
    requests = [
        replace(about(f"Name city {i}" + " of Japan" * (i % 5)), targets=cities[i % 3 :])
        for i in range(64)
    ]
    async with serve(FixedWorld()) as server:
        config = endpoint_config(server.base_url)
        async with open_session(config) as session:
            route = Route("completions", "echo")
            endpoint = HTTPEndpoint(config, session, route)
            model = around_endpoint(endpoint, route, LIMITS, LocalLimiter(LIMITS))
            listed = await map_bounded(model.send, requests)
            num_calls = server.num_requests
            alone = [await endpoint.send(request) for request in requests]
    assert num_calls <= 64 / 6
    assert listed == alone


@pytest.mark.parametrize("most", [8, 4, 1])
async def test_a_list_holds_no_more_texts_than_may_be_in_flight(most):
    inner, route = Endpoint(), Route("completions", "echo")
    limits = LimitsConfig(max_concurrency=most)
    model = around_endpoint(inner, route, limits, LocalLimiter(limits))
    await map_bounded(model.send, [scoring(str(i)) for i in range(24)])
    assert max(map(num_sequences, inner.calls)) == most
