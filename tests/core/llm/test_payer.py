"""Bills of units of work whose first attempt was lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.errors import RequestError
from dln_core.llm.base import Request, Response
from dln_core.llm.cache import Cache
from dln_core.llm.payer import Payer
from dln_core.llm.simulated import SimulatedModel
from dln_core.llm.store import AnswerStore
from dln_core.types import Usage
from tests.core.llm.toys import GENERATE, SCORE, FixedWorld, Recorder

KYOTO = replace(SCORE, targets=("Kyoto",))
REQUESTS = (GENERATE, KYOTO)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.db")
    yield opened
    opened.close()


async def bill(store: AnswerStore, unit: str | None, requests: Sequence[Request]) -> list[Response]:
    """Ask as a new process does."""
    payer = Payer()
    inner = SimulatedModel(FixedWorld())
    model = Cache(inner, {}, rung="score", read=[store], write=[store], payer=payer)
    with payer.paying(unit):
        return [await model.send(request) for request in requests]


def paid(responses: Sequence[Response]) -> Usage:
    return sum((each.paid_usage for each in responses), Usage())


@pytest.mark.parametrize("request_", [GENERATE, SCORE])
async def test_the_next_attempt_is_billed_what_the_lost_one_paid(store, request_):
    lost = await bill(store, "trial 3", [request_])
    assert await bill(store, "trial 3", [request_]) == lost
    assert paid(lost) != Usage()


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("unit", ["trial 4", None])
async def test_nobody_else_is_billed(store, request_, unit):
    await bill(store, "trial 3", [request_])
    (other,) = await bill(store, unit, [request_])
    assert not other.paid
    assert paid([other]) == Usage()


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("was_lost", [True, False])
async def test_an_answer_is_billed_once_however_often_it_is_read(store, request_, was_lost):
    if was_lost:
        await bill(store, "trial 3", [request_])
    first, *others = await bill(store, "trial 3", [request_] * 3)
    assert first.paid
    assert paid([first]) != Usage()
    assert paid(others) == Usage()


async def test_a_scoring_that_was_half_done_is_billed_as_the_two_calls_that_it_took(store):
    (half,) = await bill(store, "trial 3", [KYOTO])
    (whole,) = await bill(store, "trial 3", [SCORE])
    (other,) = await bill(store, "trial 4", [replace(SCORE, targets=("Tokyo",))])
    assert not other.paid
    (tokyo,) = await bill(store, "trial 3", [replace(SCORE, targets=("Tokyo",))])
    assert whole.paid_usage == paid([half, tokyo])


class FailsOnce:
    """A model that cannot be reached the first time."""

    def __init__(self) -> None:
        self._inner = SimulatedModel(FixedWorld())
        self._has_failed = False

    async def send(self, request: Request) -> Response:
        if not self._has_failed:
            self._has_failed = True
            raise RequestError("away")
        return await self._inner.send(request)


async def test_a_request_that_fails_leaves_what_it_would_have_settled_to_the_next(store):
    (half,) = await bill(store, "trial 3", [KYOTO])
    payer = Payer()
    model = Cache(FailsOnce(), {}, rung="score", read=[store], write=[store], payer=payer)
    with payer.paying("trial 3"):
        with pytest.raises(RequestError):
            await model.send(SCORE)
        whole = await model.send(SCORE)
    (other,) = await bill(store, "trial 3", [replace(SCORE, targets=("Tokyo",))])
    assert whole.paid_usage == paid([half, other])


async def test_what_nobody_paid_for_is_never_billed(store):
    await bill(store, None, REQUESTS)
    assert paid(await bill(store, "trial 3", REQUESTS)) == Usage()
    assert paid(await bill(store, None, REQUESTS)) == Usage()


async def test_a_unit_that_follows_another_in_one_process_does_not_pay_for_it(store):
    payer, inner = Payer(), Recorder()
    model = Cache(inner, {}, rung=None, read=[store], write=[store], payer=payer)
    with payer.paying("trial 3"):
        await model.send(GENERATE)
    with payer.paying("trial 4"):
        assert not (await model.send(GENERATE)).paid
    assert not (await model.send(GENERATE)).paid
    with payer.paying("trial 3"):
        assert (await model.send(GENERATE)).paid
