"""Requests that are asked at the same moment go to the endpoint in one call."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import partial

import anyio.lowlevel

from dln_core.concurrency import map_surviving
from dln_core.errors import RequestError
from dln_core.llm.base import (
    Request,
    RequestList,
    Response,
    ScoreRequest,
    Sendable,
    Sender,
    num_sequences,
)
from dln_core.llm.flights import Flight
from dln_core.types import Role

MAX_SEQUENCES = 16

Outcomes = dict[int, Response | RequestError]


@dataclass(slots=True)
class _Gathering:
    """Requests that wait for the same call, by the number of the member that waits."""

    members: dict[int, Request] = field(default_factory=dict)
    num_sequences: int = 0
    flight: Flight[Outcomes] = field(default_factory=Flight)


class Lists:
    """A transport that merges what is asked at the same moment into lists of requests.

    Merged are scorings, and greedy generations that differ in nothing but the messages, up to
    ``MAX_SEQUENCES`` texts a call.  A request waits for company one turn of the event loop and no
    longer.  The task of one member sends the list; if it is cancelled, another member sends the
    list without it, so that nobody's cancellation fails another and no call outlives its members.

    Args:
        inner: Answers requests and lists of them.
        of_scorings: Whether it takes lists of scorings too.
    """

    def __init__(self, inner: Sender[Sendable], *, of_scorings: bool = True) -> None:
        self._inner = inner
        self._of_scorings = of_scorings
        self._open: dict[Hashable, _Gathering] = {}
        self._numbers = itertools.count()

    async def send(self, request: Request) -> Response:
        """Answer by the inner sender, alone or in a list.

        Raises:
            LLMError: If the request failed for good.  Where the endpoint refuses a list, each
                request goes alone, so that only those fail which are refused by themselves.
        """
        kind = self._kind(request)
        if kind is None:
            return await self._inner.send(request)
        number, gathering = next(self._numbers), self._gathering(kind, num_sequences(request))
        gathering.members[number] = request
        try:
            outcomes = await gathering.flight.join(partial(self._send, kind, gathering))
        finally:
            del gathering.members[number]
        outcome = outcomes[number]
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def _kind(self, request: Request) -> Hashable | None:
        """What the requests of one list have in common; None for a request that goes alone."""
        if isinstance(request, ScoreRequest):
            fits = self._of_scorings and len(request.targets) <= MAX_SEQUENCES
            return ScoreRequest if fits else None
        if request.temperature > 0:
            return None
        return replace(request, messages=(), role=Role.forward)

    def _gathering(self, kind: Hashable, more: int) -> _Gathering:
        gathering = self._open.get(kind)
        if gathering is None or gathering.num_sequences + more > MAX_SEQUENCES:
            gathering = self._open[kind] = _Gathering()
        gathering.num_sequences += more
        return gathering

    async def _send(self, kind: Hashable, gathering: _Gathering) -> Outcomes:
        await anyio.lowlevel.checkpoint()
        if self._open.get(kind) is gathering:
            del self._open[kind]
        numbers, requests = list(gathering.members), tuple(gathering.members.values())
        if len(requests) == 1:
            return {numbers[0]: await self._inner.send(requests[0])}
        try:
            listed = RequestList(requests)  # type: ignore[arg-type]  # One kind of request each.
            answers = (await self._inner.send(listed)).parts
        except RequestError:
            alone = await map_surviving(self._inner.send, requests)
            return dict(zip(numbers, alone, strict=True))
        return dict(zip(numbers, answers, strict=True))
