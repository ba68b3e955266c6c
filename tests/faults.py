"""Faults that a server in a test serves before its good answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Fault:
    """What is served instead of an answer; ``cut`` tears the connection down after the body."""

    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def failed(status: int, message: str = "try later", **headers: str) -> Fault:
    """An error in the usual form; a header's name is written with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status, json.dumps({"error": {"message": message}}), sent)


RESET = Fault(body="", cut=True)
CUT_BODY = Fault(body='{"choices": [{"mess', cut=True)
HALF_JSON = Fault(body='{"choices": [{"mess')
NO_CHOICES = Fault(body='{"choices": []}')
TOO_LONG = Fault(
    400,
    json.dumps(
        {
            "error": {
                "message": "This model's maximum context length is 8 tokens.",
                "code": "context_length_exceeded",
            }
        }
    ),
)


async def serve_fault(request: web.Request, fault: Fault) -> web.StreamResponse:
    """Answer a request by a fault."""
    content = fault.body.encode()
    if not fault.cut:
        return web.Response(
            status=fault.status,
            body=content,
            headers=fault.headers,
            content_type="application/json",
        )
    transport = request.transport
    assert transport is not None
    if content:
        response = web.StreamResponse(headers={"Content-Length": "4096"})
        await response.prepare(request)
        await response.write(content)
        transport.close()
        return response
    transport.abort()
    return web.Response()
