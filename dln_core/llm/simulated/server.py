"""The simulated model behind HTTP, with limits and faults to order."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from dln_core.llm.serving.fields import BadRequest, Body, require_object
from dln_core.llm.simulated.dialects import Dialects, anthropic_error, require_version
from dln_core.llm.simulated.faults import Faults, serve_fault
from dln_core.llm.simulated.model import World
from dln_core.llm.simulated.rate_limits import RateLimits
from dln_core.llm.simulated.routes import Routes
from dln_core.llm.simulated.shapes import Answer
from dln_core.llm.simulated.slots import Slots

MOST_BODY_BYTES = 64 << 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How the server behaves; by default it answers at once and never fails.

    Attributes:
        slots: Sequences that run at once; None for as many as are asked for.
        latency_s: Time that a sequence occupies its slot before its first token.
        seconds_per_token: Time of each token generated.
        requests_per_minute: Requests answered in any minute; None for no limit.
        tokens_per_minute: Prompt and completion tokens in any minute; None for no limit.
        fault_share: Part of the requests that meet a fault.
        fault_kinds: Names of the faults; empty for all of them.
        seed: Decides which requests meet a fault, and what is drawn for those without a seed.
        api_key: Requests with another key are refused; None takes any.
    """

    slots: int | None = None
    latency_s: float = 0.0
    seconds_per_token: float = 0.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    fault_share: float = 0.0
    fault_kinds: tuple[str, ...] = ()
    seed: int = 0
    api_key: str | None = field(default=None, repr=False)


class SimulatedServer:
    """A world's server, and what it counts.

    Args:
        world: What the served model believes.
        config: How it behaves.
        name: Name of the model in answers.

    Attributes:
        slots: Where sequences are served; it notes when each began and ended.
        faults: What is served instead of answers; the next ones can be ordered.
        num_requests: Requests that arrived, those for the list of models left out.
        num_limited: Requests that were refused for a limit.
    """

    def __init__(
        self, world: World, config: ServerConfig | None = None, name: str = "simulated"
    ) -> None:
        config = config or ServerConfig()
        self.slots = Slots(config.slots, config.latency_s, config.seconds_per_token)
        self.faults = Faults(config.fault_share, config.fault_kinds, config.seed)
        self.num_requests = 0
        self.num_limited = 0
        self._limits = RateLimits(config.requests_per_minute, config.tokens_per_minute)
        self._key = config.api_key
        self._routes = Routes(world, name, config.seed)

    def build_app(self, middlewares: Sequence[Middleware] = ()) -> web.Application:
        """Return the application; the middlewares see requests before it does."""
        routes, dialects = self._routes, Dialects(self._routes)
        app = web.Application(
            middlewares=[*middlewares, _errors_as_json], client_max_size=MOST_BODY_BYTES
        )
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._as_route(routes.completions))
        app.router.add_post("/v1/chat/completions", self._as_route(routes.chat))
        app.router.add_post("/v1/score", self._as_route(routes.score))
        app.router.add_post("/tokenize", self._as_route(routes.tokenize))
        app.router.add_post("/v1/responses", self._as_route(dialects.responses))
        app.router.add_post("/v1/messages", self._as_route(dialects.messages, require_version))
        return app

    async def _models(self, request: web.Request) -> web.Response:
        self._check_key(request)
        return web.json_response(self._routes.models())

    def _as_route(
        self,
        answer: Callable[[Body, int], Answer],
        check: Callable[[web.Request], None] = lambda request: None,
    ) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            number = self.num_requests
            self.num_requests += 1
            self._check_key(request)
            check(request)
            fault = self.faults.next(number)
            if fault is not None:
                return await serve_fault(request, fault)
            return await self._serve(request, answer(_read(await request.read()), number))

        return handle

    async def _serve(self, request: web.Request, answer: Answer) -> web.Response:
        num_tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens
        wait_s = self._limits.wait_s(num_tokens)
        headers = self._limits.headers(wait_s)
        if wait_s > 0:
            self.num_limited += 1
            refusal = BadRequest(
                f"Rate limit reached; try again in {wait_s:.3f}s.",
                code="rate_limit_exceeded",
                status=429,
            )
            return _refused(request, refusal, headers)
        await self.slots.run(answer.sequences)
        return _json(answer.body, 200, headers)

    def _check_key(self, request: web.Request) -> None:
        if self._key is None:
            return
        # OpenAI's header, Azure's and Anthropic's.
        headers = request.headers
        given = headers.get("Authorization", "").removeprefix("Bearer ")
        given = given or headers.get("api-key", "") or headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise BadRequest("Incorrect API key provided.", code="invalid_api_key", status=401)


def _read(content: bytes) -> Body:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON ({error}); send a JSON object") from error
    if isinstance(body, dict) and body.get("stream"):
        raise BadRequest("answers are not streamed here; leave stream out", "stream")
    return require_object(body)


def _json(body: Body, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give errors the shape of the interface that is spoken."""
    try:
        return await handler(request)
    except BadRequest as error:
        refusal = error
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = f"{request.method} {request.path}: {error.reason}"
        refusal = BadRequest(message, status=error.status)
    return _refused(request, refusal)


def _refused(
    request: web.Request, error: BadRequest, headers: dict[str, str] | None = None
) -> web.Response:
    is_anthropic = request.path == "/v1/messages"
    body = anthropic_error(error) if is_anthropic else error.to_dict()
    return _json(body, error.status, headers)
