"""What is served instead of an answer."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from aiohttp import web

from dln_core.llm.simulated.draws import digest, fraction

CUT_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Fault:
    """What is served instead of an answer.

    Attributes:
        status: HTTP status.
        body: The whole body that is sent.
        headers: Sent along.
        cut: The connection is torn down, after the body if there is one.
        hangs: Nothing is ever sent.
    """

    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    hangs: bool = False


def failed(status: int, message: str = "try later", **headers: str) -> Fault:
    """An error in the usual form; a header's name is written with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status=status, body=json.dumps({"error": {"message": message}}), headers=sent)


RESET = Fault(body="", cut=True)
HANG = Fault(hangs=True)
HALF_JSON = Fault(body='{"choices": [{"mess')
# Empty whatever the route calls its list.
NO_CHOICES = Fault(body='{"choices": [], "scores": [], "output": [], "content": [], "tokens": []}')

KINDS: Mapping[str, Fault] = {
    "500": failed(500),
    "503": failed(503),
    "reset": RESET,
    "hang": HANG,
    "half_json": HALF_JSON,
    "no_choices": NO_CHOICES,
    "429": failed(429),
    "429_retry_after": failed(429, Retry_After="1"),
}


class Faults:
    """Which request meets which fault: those that were ordered, then draws.

    Args:
        rate: Part of the requests that meet a fault.
        kinds: Names of the faults that are drawn among.
        seed: With the number of a request's arrival it decides the request's fault.

    Attributes:
        ordered: Faults of the next requests, one each.
        num_by_kind: Faults so far by kind; those that were ordered count as ``ordered``.
    """

    def __init__(self, rate: float = 0.0, kinds: Sequence[str] = (), seed: int = 0) -> None:
        self._rate = rate
        self._kinds = tuple(kinds) or tuple(KINDS)
        self._seed = seed
        self.ordered: deque[Fault] = deque()
        self.num_by_kind: Counter[str] = Counter()

    def next(self, number: int) -> Fault | None:
        """The fault of the request that arrived as this number, or None."""
        if self.ordered:
            self.num_by_kind["ordered"] += 1
            return self.ordered.popleft()
        if fraction(self._seed, number, "fault") >= self._rate:
            return None
        kind = self._kinds[digest(self._seed, number, "kind") % len(self._kinds)]
        self.num_by_kind[kind] += 1
        return KINDS[kind]


async def serve_fault(request: web.Request, fault: Fault) -> web.StreamResponse:
    """Answer a request by a fault; one that hangs ends when its client gives up."""
    if fault.hangs:
        await anyio.sleep_forever()
    content = fault.body.encode()
    if not fault.cut:
        return web.Response(
            status=fault.status,
            body=content,
            headers=fault.headers,
            content_type="application/json",
        )
    transport = request.transport
    if not content:
        if transport is not None:
            transport.abort()
        return web.Response()
    response = web.StreamResponse(headers={"Content-Length": str(CUT_LENGTH)})
    await response.prepare(request)
    await response.write(content)
    if transport is not None:
        transport.close()
    return response
