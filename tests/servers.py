"""The simulated server in a test: on loopback, on a free port, watched, and spoiled on demand.

What real endpoints do differently are switches: routes that are missing, log-probs that are none
or make no sense, a required key, and faults that come before the good answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from dln_core.llm.serving.listening import LOOPBACK, listen
from dln_core.llm.simulated import World
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from tests.faults import Fault

ROUTES = frozenset({"models", "chat/completions", "completions", "score"})
ALL_ROUTES = ROUTES | {"tokenize", "responses", "messages"}
KEY_HEADERS = ("Authorization", "api-key", "x-api-key")
NEVER = 10**9

# What spoiled log-probs look like; the first token of a text has none in any case.
SPOILED: Mapping[str, Callable[[int], float | None]] = {
    "null": lambda place: None,
    "zero": lambda place: 0.0,
    "constant": lambda place: -1.0,
    "nonsense": lambda place: 3.5 - place,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at: float


@dataclass(slots=True, kw_only=True)
class OpenAIServer:
    """The server's switches, and what it saw.

    Attributes:
        served: The simulated server itself.
        routes: Routes that exist; the others answer 404.
        echo: ``true`` log-probs, one of ``SPOILED``, or ``ignored`` (the continuation alone).
        next_token: Log-probs of the chat's next tokens: ``true`` or ``null``.
        prompt_logprobs: vLLM's log-probs: ``true`` or ``ignored``.
        required_key: Other keys are refused; None takes any.
        hold_until: No request is answered before so many were in flight at once.
    """

    served: SimulatedServer
    routes: frozenset[str] = ROUTES
    echo: str = "true"
    next_token: str = "true"
    prompt_logprobs: str = "ignored"
    required_key: str | None = None
    hold_until: int = 1
    base_url: str = ""
    seen: list[Seen] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.BaseTransport] = field(default_factory=set)

    @property
    def faults(self) -> deque[Fault]:
        """Served first, one a request."""
        return self.served.faults.ordered

    @property
    def num_requests(self) -> int:
        """Requests that arrived, refused ones included."""
        return len(self.seen)

    @property
    def num_by_path(self) -> Counter[str]:
        """Requests by route."""
        return Counter(seen.path for seen in self.seen)

    @property
    def num_connections(self) -> int:
        """Connections of which the other end is still there."""
        return sum(not transport.is_closing() for transport in self._connections)

    def fail_first(self, *faults: Fault) -> None:
        """Serve these faults to the next requests."""
        self.faults.extend(faults)

    def hold(self) -> None:
        """Answer no request from now on."""
        self.hold_until = NEVER
        self._full.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what the server sees; looked at as requests come and go."""
        while not condition():
            await self._changed.wait()

    async def watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note a request, hold it as long as was wanted and let it be answered."""
        path = request.path.removeprefix("/v1").removeprefix("/")
        body = await request.json() if request.can_read_body else None
        now = asyncio.get_running_loop().time()
        self.seen.append(Seen(path, dict(request.headers), body, now))
        if request.transport is not None:
            self._connections.add(request.transport)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._tell()
        try:
            if self.max_in_flight >= self.hold_until:
                self._full.set()
            await self._full.wait()
            given = [request.headers.get(name, "") for name in KEY_HEADERS]
            if self.required_key is not None and self.required_key not in " ".join(given).split():
                # As careless servers do, the refusal repeats the key.
                return _error(401, f"Incorrect API key provided: {''.join(given)}")
            if path not in self.routes:
                return _error(404, f"there is no route {path}")
            return self._spoil(path, body or {}, await handler(request))
        finally:
            self.in_flight -= 1
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spoil(
        self, path: str, asked: dict[str, Any], response: web.StreamResponse
    ) -> web.StreamResponse:
        is_answer = isinstance(response, web.Response) and response.status == 200
        if not is_answer or path not in ("completions", "chat/completions"):
            return response
        try:
            body = orjson.loads(response.body)  # type: ignore[attr-defined]
        except orjson.JSONDecodeError:
            return response
        # The order of a list's answers is told by their index alone.
        body["choices"].reverse()
        for choice in body["choices"]:
            if path == "chat/completions" and self.next_token == "null":
                choice["logprobs"] = None
            if asked.get("echo") and self.echo == "ignored":
                prompts = (
                    asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
                )
                choice["text"] = choice["text"].removeprefix(prompts[choice["index"]])
                del choice["logprobs"]
            elif asked.get("echo") and self.echo != "true":
                values = choice["logprobs"]["token_logprobs"]
                spoiled = SPOILED[self.echo]
                choice["logprobs"]["token_logprobs"] = [spoiled(i) for i in range(len(values))]
        if self.prompt_logprobs == "ignored":
            body.pop("prompt_logprobs", None)
        return web.json_response(body)


@asynccontextmanager
async def serve(
    world: World,
    *,
    faults: Iterable[Fault] = (),
    config: ServerConfig | None = None,
    host: str = LOOPBACK,
    port: int = 0,
    **switches: Any,
) -> AsyncIterator[OpenAIServer]:
    """Run a server until the block ends; ``base_url`` is its address with the ``/v1``."""
    server = OpenAIServer(served=SimulatedServer(world, config), **switches)
    server.fail_first(*faults)

    @web.middleware
    async def watch(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        return await server.watch(request, handler)

    async with listen(server.served.build_app([watch]), host, port) as address:
        server.base_url = address
        yield server


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
