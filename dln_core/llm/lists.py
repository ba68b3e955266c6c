"""Scorings that are asked at the same moment go to the endpoint in one call."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
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
)
from dln_core.llm.flights import Flight

MAX_SEQUENCES = 16

Outcomes = dict[int, Response | RequestError]


@dataclass(slots=True)
class _Gathering:
    """Scorings that wait for the same call, by the number of the member that waits."""

    members: dict[int, ScoreRequest] = field(default_factory=dict)
    num_sequences: int = 0
    flight: Flight[Outcomes] = field(default_factory=Flight)


class Lists:
    """A transport that merges the scorings of the same moment into lists.

    A scoring waits for company one turn of the event
    loop and no longer.  The task of one member sends the list; if it is cancelled, another member
    sends the list without it, so that nobody's cancellation fails another and no call outlives its
    members.

    Args:
        inner: Answers requests and lists of them.
        max_sequences: Texts that a list holds at most.
    """

    def __init__(self, inner: Sender[Sendable], max_sequences: int = MAX_SEQUENCES) -> None:
        self._inner = inner
        self._max_sequences = max_sequences
        self._open = _Gathering()
        self._numbers = itertools.count()

    async def send(self, request: Request) -> Response:
        """Answer by the inner sender, alone or in a list.

        Raises:
            LLMError: If the request failed for good.  Where the endpoint refuses a list, each
                request goes alone, so that only those fail which are refused by themselves.
        """
        if not isinstance(request, ScoreRequest) or len(request.targets) > self._max_sequences:
            return await self._inner.send(request)
        number, gathering = next(self._numbers), self._gathering(len(request.targets))
        gathering.members[number] = request
        try:
            outcomes = await gathering.flight.join(partial(self._send, gathering))
        finally:
            del gathering.members[number]
        outcome = outcomes[number]
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def _gathering(self, more: int) -> _Gathering:
        if self._open.num_sequences + more > self._max_sequences:
            self._open = _Gathering()
        self._open.num_sequences += more
        return self._open

    async def _send(self, gathering: _Gathering) -> Outcomes:
        await anyio.lowlevel.checkpoint()
        if self._open is gathering:
            self._open = _Gathering()
        numbers, requests = list(gathering.members), tuple(gathering.members.values())
        if len(requests) == 1:
            return {numbers[0]: await self._inner.send(requests[0])}
        try:
            answers = (await self._inner.send(RequestList(requests))).parts
        except RequestError:
            alone = await map_surviving(self._inner.send, requests)
            return dict(zip(numbers, alone, strict=True))
        return dict(zip(numbers, answers, strict=True))
