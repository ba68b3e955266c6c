"""The local engine behind OpenAI's HTTP interface, on this machine alone unless told otherwise."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
from aiohttp import web

from dln_core.errors import LLMError
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.handlers import Handlers
from dln_core.llm.serving.fields import BadRequest, Body, read_flag, require_object
from dln_core.llm.serving.listening import listen

_MAX_BODY_BYTES = 64 << 20
# Requests that are still open when the server ends fail at their next step, so this is enough.
_SHUTDOWN_S = 10.0
_EVENT_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}

Answer = Callable[[Body], Awaitable[Body]]
Stream = Callable[[Body], AsyncGenerator[Body, None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(handlers: Handlers) -> web.Application:
    """Return the application of an engine; its workers are started by ``Handlers.start``."""
    app = web.Application(middlewares=[_errors_as_json], client_max_size=_MAX_BODY_BYTES)

    async def health(request: web.Request) -> web.Response:
        """Tell that the model is loaded; nothing listens before."""
        return web.json_response({"status": "ok", "model": handlers.name})

    async def models(request: web.Request) -> web.Response:
        """List the one model."""
        return web.json_response(handlers.models())

    app.router.add_get("/health", health)
    app.router.add_get("/v1/models", models)
    completions = _as_route(handlers.completions, handlers.stream_completions)
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/chat/completions", _as_route(handlers.chat, handlers.stream_chat))
    app.router.add_post("/v1/score", _as_route(handlers.score))
    return app


@asynccontextmanager
async def open_server(
    engine: LocalEngine, name: str, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve an engine while the context is open; the engine is of no use after it.

    Args:
        engine: What answers.
        name: Name of the model in requests and answers.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Yields:
        The address with its ``/v1``.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    handlers = Handlers(engine, name)
    async with anyio.create_task_group() as tasks:
        handlers.start(tasks)
        async with listen(build_app(handlers), host, port, shutdown_s=_SHUTDOWN_S) as address:
            try:
                yield address
            finally:
                # What is open fails at its next step.
                engine.stop()
        tasks.cancel_scope.cancel()


def _as_route(answer: Answer, stream: Stream | None = None) -> Handler:
    """Turn a function of JSON bodies into a handler; ``stream`` answers where that is asked."""

    async def handle(request: web.Request) -> web.StreamResponse:
        """Read the body, answer it."""
        try:
            body = require_object(json.loads(await request.read()))
        except ValueError as error:
            raise BadRequest(f"the body is not JSON ({error}); send a JSON object") from error
        if stream is not None and read_flag(body, "stream"):
            async with aclosing(stream(body)) as pieces:
                return await _send_events(request, pieces)
        return web.json_response(await answer(body))

    return handle


async def _send_events(
    request: web.Request, pieces: AsyncGenerator[Body, None]
) -> web.StreamResponse:
    """Send pieces as server-sent events."""
    # A request that is refused is so before its first piece, still with a status of its own.
    piece = await anext(pieces)
    response = web.StreamResponse(headers=_EVENT_HEADERS)
    await response.prepare(request)
    try:
        await response.write(_event(json.dumps(piece)))
        async for piece in pieces:
            await response.write(_event(json.dumps(piece)))
    except LLMError as error:
        await response.write(_event(json.dumps(BadRequest(str(error), status=503).to_dict())))
    else:
        await response.write(_event("[DONE]"))
    await response.write_eof()
    return response


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error that is raised on purpose OpenAI's shape."""
    try:
        return await handler(request)
    except BadRequest as error:
        refusal = error
    except LLMError as error:
        refusal = BadRequest(str(error), status=503)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = f"{request.method} {request.path}: {error.reason}"
        refusal = BadRequest(message, status=error.status)
    return web.json_response(refusal.to_dict(), status=refusal.status)
