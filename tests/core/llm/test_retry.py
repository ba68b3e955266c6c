"""Trying again what may pass."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import anyio.lowlevel
import pytest

from dln_core.errors import LLMError, RequestError, TransientError, UnreachableError
from dln_core.llm import retry
from dln_core.llm.base import Choice, RequestList, Response, Sendable
from dln_core.llm.retry import Retry
from dln_core.types import Usage
from tests.core.llm.toys import GENERATE

ATTEMPTS = 10


class Failing:
    """Fails a number of times, then answers."""

    def __init__(self, error: LLMError, num_failures: int) -> None:
        self.error = error
        self.num_failures = num_failures
        self.requests: list[Sendable] = []

    async def send(self, request: Sendable) -> Response:
        self.requests.append(request)
        if len(self.requests) <= self.num_failures:
            raise self.error
        return Response((Choice("Tokyo"),), Usage(1, 1))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The waits between attempts, in seconds; none is really waited."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.5)
    monkeypatch.setattr(retry, "anyio", SimpleNamespace(sleep=sleep))
    return waited


async def test_faults_that_are_no_outage_can_be_given_fewer_attempts(waits):
    outage, fault = TransientError("down", is_outage=True), TransientError("no kernel")
    for error, num_attempts in ((outage, ATTEMPTS), (fault, 3)):
        inner = Failing(error, 99)
        with pytest.raises(UnreachableError, match=f"gave up after {num_attempts} attempts"):
            await Retry(inner, ATTEMPTS, max_faults=3).send(GENERATE)
        assert len(inner.requests) == num_attempts


@pytest.mark.parametrize("asked_s", [None, 0.0, 1.0])
async def test_the_attempts_outlast_an_outage_of_a_minute_whatever_the_endpoint_asks(
    waits, asked_s
):
    for _ in range(50):
        waits.clear()
        with pytest.raises(UnreachableError):
            await Retry(Failing(TransientError("down", asked_s), 99), ATTEMPTS).send(GENERATE)
        assert len(waits) == ATTEMPTS - 1
        assert sum(waits) >= 60


async def test_requests_that_failed_together_do_not_come_back_together(waits):
    for _ in range(100):
        await Retry(Failing(TransientError("down"), 4), ATTEMPTS).send(GENERATE)
    fourth = waits[3::4]
    assert len(set(fourth)) == len(fourth)
    # Half of a wait is fixed.
    assert min(fourth) >= 2
    assert max(fourth) <= 4


@pytest.mark.parametrize(
    ("asked_s", "least", "most"), [(0.0, 0, 0.5), (7.0, 7, 7.5), (120.0, 120, 121), (1e5, 300, 301)]
)
async def test_what_the_endpoint_asks_goes_before_the_exponential_wait(waits, asked_s, least, most):
    await Retry(Failing(TransientError("busy", asked_s), 3), ATTEMPTS).send(GENERATE)
    assert all(least <= wait <= most for wait in waits)


async def test_an_endpoint_whose_word_did_not_hold_is_given_more_time(waits):
    await Retry(Failing(TransientError("busy", 1.0), 6), ATTEMPTS).send(GENERATE)
    assert all(wait < 2 for wait in waits[:3])
    assert all(wait >= 2 for wait in waits[3:])


async def test_giving_up_keeps_the_last_reason_and_the_number_of_attempts(waits):
    model = Retry(Failing(TransientError("503: the cooling failed"), 99), 4)
    with pytest.raises(UnreachableError, match=r"503: the cooling failed; gave up after 4"):
        await model.send(GENERATE)


async def test_a_lasting_failure_is_raised_at_once(waits):
    inner = Failing(RequestError("too long"), 1)
    with pytest.raises(RequestError):
        await Retry(inner, ATTEMPTS).send(GENERATE)
    assert (len(inner.requests), waits) == (1, [])


async def test_a_list_of_requests_is_tried_again_as_a_list(waits):
    inner = Failing(TransientError("down"), 2)
    listed = RequestList((GENERATE, GENERATE))
    await Retry(inner, ATTEMPTS).send(listed)
    assert inner.requests == [listed] * 3
