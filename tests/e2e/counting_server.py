"""The simulated endpoint as a process of its own that writes down every request before it answers.

What it wrote survives its death, so that requests can be counted over kills.  A line is the digest
of one text that is asked for: a scored target after its context, or a text to be written.  The
probe that each opened connection begins with is left out: it learns what the endpoint can do now,
and is no part of any trial.

Run: ``python -m tests.e2e.counting_server PORT LOG``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import anyio
import orjson
from aiohttp import web

from dln_core.llm.capabilities import PROBE
from dln_core.llm.serving.listening import LOOPBACK, listen
from dln_core.llm.simulated.server import Handler, ServerConfig, SimulatedServer
from dln_core.llm.simulated.worlds import InContextReader

LATENCY_S = 0.05
SLOTS = 16
_PROBE = PROBE[-1].text


def num_repeats(log: Path) -> int:
    """Texts that were asked for though they had been asked for before."""
    lines = log.read_text().splitlines()
    return len(lines) - len(set(lines))


def _texts(path: str, content: bytes) -> list[str]:
    body = orjson.loads(content)
    targets = body.pop("targets", [""])
    rest = path.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return [hashlib.sha256(rest + target.encode()).hexdigest()[:16] for target in targets]


async def serve(port: int, log: Path) -> None:
    """Serve until killed."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        content = await request.read()
        if content and _PROBE.encode() not in content:
            texts = _texts(request.path, content)
            os.write(descriptor, "".join(f"{text}\n" for text in texts).encode())
        return await handler(request)

    config = ServerConfig(slots=SLOTS, latency_s=LATENCY_S)
    server = SimulatedServer(InContextReader(), config)
    async with listen(server.build_app([note]), LOOPBACK, port) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), Path(sys.argv[2]))
