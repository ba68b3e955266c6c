"""An OpenAI-compatible server over a simulated model, for tests: on loopback, on a free port.

What real endpoints do differently are switches: routes that are missing, echoes without
log-probs, a required key, and faults that come before the good answer.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dln_core.llm.base import Choice, GenerateRequest, ScoreRequest
from dln_core.llm.simulated import SimulatedModel, World
from dln_core.types import Message, Usage
from tests.faults import Fault, serve_fault

ROUTES = frozenset({"models", "chat/completions", "completions", "score"})
# What an echo says of the words of a context, and of a target that the world never gives.
CONTEXT_LOGPROB = -1.5
OUTSIDE_LOGPROB = -11.0
LONGEST_TARGET_WORDS = 16
NEVER = 10**9


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
        world: What the served model believes.
        routes: Routes that exist; the others answer 404.
        echo: ``true`` log-probs, ``null``, ``zero``, or ``ignored`` (the continuation alone).
        next_token: Log-probs of the chat's next tokens: ``true`` or ``null``.
        required_key: Other keys are refused; None takes any.
        faults: Served first, one a request.
        hold_until: No request is answered before so many were in flight at once.
    """

    world: World
    routes: frozenset[str] = ROUTES
    echo: str = "true"
    next_token: str = "true"
    required_key: str | None = None
    faults: deque[Fault] = field(default_factory=deque)
    hold_until: int = 1
    base_url: str = ""
    seen: list[Seen] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.BaseTransport] = field(default_factory=set)

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

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what the server sees; looked at as requests come and go."""
        while not condition():
            await self._changed.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        path = request.path.removeprefix("/v1/")
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
            return await self._serve(request, path, body)
        finally:
            self.in_flight -= 1
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, request: web.Request, path: str, body: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.required_key is not None and given != self.required_key:
            # As careless servers do, the refusal repeats the key.
            return _error(401, f"Incorrect API key provided: {given}")
        if self.faults:
            return await serve_fault(request, self.faults.popleft())
        if path not in self.routes:
            return _error(404, f"there is no route {path}")
        answers = {
            "models": self._models,
            "chat/completions": self._chat,
            "completions": self._completions,
            "score": self._score,
        }
        return web.json_response(await answers[path](body))

    async def _models(self, body: Any) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "simulated", "object": "model"}]}

    async def _chat(self, body: Any) -> dict[str, Any]:
        messages = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
        choice, usage = await self._generate(messages, body)
        said = {"role": "assistant", "content": choice.text}
        logprobs = None
        if body.get("logprobs") and self.next_token == "true":
            logprobs = {"content": [self._next_token(messages, int(body["top_logprobs"]))]}
        entry = {"index": 0, "message": said, "logprobs": logprobs, "finish_reason": "stop"}
        return {"choices": [entry], "usage": _usage(usage)}

    async def _completions(self, body: Any) -> dict[str, Any]:
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        entries, total = [], Usage()
        for index, prompt in enumerate(prompts):
            choice, usage = await self._generate((Message("user", prompt),), body)
            entry = {"index": index, "text": f" {choice.text}", "finish_reason": "stop"}
            if body.get("echo") and self.echo != "ignored":
                logprobs = self._echo(prompt)
                entry |= {"text": "".join(logprobs["tokens"]), "logprobs": logprobs}
            entries.append(entry)
            total += usage
        # The order of a list's answers is told by their index alone.
        return {"choices": entries[::-1], "usage": _usage(total)}

    async def _score(self, body: Any) -> dict[str, Any]:
        if "messages" in body:
            messages = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
        else:
            messages = (Message("user", body["prompt"]),)
        targets = tuple(target.strip() for target in body["targets"])
        model = SimulatedModel(self.world)
        response = await model.send(ScoreRequest(messages=messages, targets=targets))
        scores = [{"token_logprobs": choice.token_logprobs} for choice in response.choices]
        return {"scores": scores, "usage": _usage(response.usage)}

    async def _generate(self, messages: tuple[Message, ...], body: Any) -> tuple[Choice, Usage]:
        request = GenerateRequest(
            messages=messages,
            max_tokens=body.get("max_tokens", 16),
            temperature=body.get("temperature", 1.0),
            seed=body.get("seed", 0),
        )
        response = await SimulatedModel(self.world).send(request)
        return response.choices[0], response.usage

    def _next_token(self, messages: tuple[Message, ...], num_top: int) -> dict[str, Any]:
        firsts: Counter[str] = Counter()
        for text, probability in self._following(messages).items():
            firsts[text.split()[0]] += probability  # type: ignore[assignment]
        top = [
            {"token": token, "logprob": math.log(probability)}
            for token, probability in firsts.most_common(num_top)
        ]
        return {**top[0], "top_logprobs": top}

    def _echo(self, prompt: str) -> dict[str, list[Any]]:
        tokens = re.findall(r"\s*\S+|\s+", prompt)
        values: list[float | None] = [None] + [CONTEXT_LOGPROB] * (len(tokens) - 1)
        longest = min(LONGEST_TARGET_WORDS, len(tokens) - 1)
        for length in range(longest, 0, -1):
            context, target = "".join(tokens[:-length]), "".join(tokens[-length:]).strip()
            probability = self._following((Message("user", context),)).get(target)
            if probability is not None:
                values[-length:] = [math.log(probability) / length] * length
                break
        else:
            values[-longest:] = [OUTSIDE_LOGPROB] * longest
        tokens.append(" surplus")
        values.append(-0.25)
        if self.echo == "null":
            values = [None] * len(tokens)
        if self.echo == "zero":
            values = [0.0] * len(tokens)
        offsets = [sum(map(len, tokens[:index])) for index in range(len(tokens))]
        return {"tokens": tokens, "text_offset": offsets, "token_logprobs": values}

    def _following(self, messages: tuple[Message, ...]) -> Mapping[str, float]:
        return self.world.distribution(ScoreRequest(messages=messages, targets=("any",)))


@asynccontextmanager
async def serve(
    world: World, *, faults: Iterable[Fault] = (), **switches: Any
) -> AsyncIterator[OpenAIServer]:
    """Run a server until the block ends; ``base_url`` is its address with the ``/v1``."""
    server = OpenAIServer(world=world, faults=deque(faults), **switches)
    application = web.Application()
    application.router.add_route("*", "/v1/{route:.*}", server.handle)
    # A request whose sender has gone is dropped, as real servers do.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
