"""Equal requests in flight share one call."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from dln_core.concurrency import map_bounded
from dln_core.errors import AuthenticationError, LLMError
from dln_core.llm.base import Choice, Request, Response
from dln_core.llm.dedupe import Dedupe
from dln_core.types import Role, Usage
from tests.core.llm.toys import GENERATE, SCORE, Recorder


class Held:
    """A model that answers once it may, or fails then."""

    def __init__(self, error: LLMError | None = None) -> None:
        self.error = error
        self.num_calls = 0
        self.called, self.may_answer = anyio.Semaphore(0), anyio.Event()

    async def send(self, request: Request) -> Response:
        self.num_calls += 1
        self.called.release()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return Response((Choice(f"answer {self.num_calls}"),), Usage(10, 2))


async def test_equal_requests_in_flight_make_one_call_that_one_of_them_pays():
    inner = Recorder()
    responses = await map_bounded(Dedupe(inner).send, [GENERATE] * 20)
    assert len(inner.requests) == 1
    assert len({response.choices for response in responses}) == 1
    assert sum(response.paid for response in responses) == 1
    assert {response.usage for response in responses} == {Usage(10, 2)}


async def test_the_role_does_not_tell_requests_apart_and_all_else_does():
    inner = Recorder()
    roles = [replace(GENERATE, role=role) for role in Role]
    others = [replace(GENERATE, seed=1), replace(GENERATE, logprobs=True), SCORE]
    await map_bounded(Dedupe(inner).send, [*roles, *others])
    assert len(inner.requests) == 1 + len(others)


async def test_requests_that_follow_one_another_are_all_sent():
    inner = Recorder()
    model = Dedupe(inner)
    responses = [await model.send(GENERATE) for _ in range(3)]
    assert [response.paid for response in responses] == [True] * 3


async def test_a_lasting_error_reaches_all_and_the_next_request_is_sent_anew():
    inner = Held(AuthenticationError("no such key"))
    model, caught = Dedupe(inner), []

    async def ask() -> None:
        try:
            await model.send(GENERATE)
        except AuthenticationError as error:
            caught.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await inner.called.acquire()
        inner.may_answer.set()
    assert caught == ["no such key"] * 5
    assert inner.num_calls == 1
    with pytest.raises(AuthenticationError):
        await model.send(GENERATE)
    assert inner.num_calls == 2


@pytest.mark.parametrize("cancelled", [{0}, {2}, {0, 1}, {0, 1, 2, 3}])
async def test_a_cancelled_request_never_fails_those_that_share_its_call(cancelled):
    inner = Held()
    model = Dedupe(inner)
    scopes = [anyio.CancelScope() for _ in range(5)]
    answered: dict[int, Response] = {}

    async def ask(number: int) -> None:
        with scopes[number]:
            answered[number] = await model.send(GENERATE)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
        await inner.called.acquire()
        for number in cancelled:
            scopes[number].cancel()
        if 0 in cancelled:
            # The first was at work; another begins anew.
            await inner.called.acquire()
        inner.may_answer.set()
    assert answered.keys() == set(range(5)) - cancelled
    assert sum(response.paid for response in answered.values()) == 1
    assert inner.num_calls == 1 + (0 in cancelled)


async def test_a_call_ends_with_the_last_of_those_who_wait_for_it():
    inner = Held()
    model = Dedupe(inner)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(model.send, GENERATE)
        await inner.called.acquire()
        group.cancel_scope.cancel()
    inner.may_answer.set()
    assert (await model.send(GENERATE)).paid
