"""An OpenAI-compatible endpoint over HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from dln_core.config import LLMConfig
from dln_core.errors import (
    AuthenticationError,
    ContextLengthError,
    LLMError,
    ScoringError,
    TransientError,
)
from dln_core.llm import formats
from dln_core.llm.base import Choice, GenerateRequest, Request, Response, ScoreRequest

# Shorter than the keep-alive of common servers, so that no request meets a closing connection.
KEEP_ALIVE_S = 4.0
CONNECT_TIMEOUT_S = 20.0
TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
NOT_IMPLEMENTED = 501
# How OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, Anthropic and Gemini say it.  Not llama.cpp's
# "Context size has been exceeded": other requests fill the memory that all share, which passes.
_TOO_LONG = re.compile(
    r"context[ _](length|window)|available context size|maximum model length"
    r"|prompt (is )?too long|`max_new_tokens` must be <=|input token count",
    re.IGNORECASE,
)


@asynccontextmanager
async def open_session(config: LLMConfig) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the connection pool of one endpoint; the key comes from the environment."""
    key = _key(config)
    async with aiohttp.ClientSession(
        # The limiter decides how many requests are in flight.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=config.timeout_s, sock_connect=CONNECT_TIMEOUT_S),
        headers={"Authorization": f"Bearer {key}"} if key else {},
    ) as session:
        yield session


class Endpoint:
    """A language model behind an OpenAI-compatible address.

    Args:
        config: Address, model and what to send along.
        session: The open connection pool.
        api: ``chat`` or ``completions``.
        rung: How texts are scored: ``score``, ``echo`` or ``label``; ``monte_carlo`` and None
            refuse to score.
    """

    def __init__(
        self, config: LLMConfig, session: aiohttp.ClientSession, *, api: str, rung: str | None
    ) -> None:
        self._config = config
        self._session = session
        self._api = api
        self._rung = rung

    async def send(self, request: Request) -> Response:
        """Answer one request by one HTTP call.

        Raises:
            TransientError: If trying again may help.
            LLMError: If it will not.
        """
        if isinstance(request, GenerateRequest):
            body = await self._post(formats.generation(self._config, self._api, request))
            choices = formats.read_generation(self._api, body)
        else:
            body, choices = await self._score(request)
        return Response(choices, formats.read_usage(body))

    async def _score(self, request: ScoreRequest) -> tuple[Any, tuple[Choice, ...]]:
        if self._rung == "score":
            body = await self._post(formats.score_call(self._config, self._api, request))
            return body, formats.read_score(request, body)
        if self._rung == "echo":
            body = await self._post(formats.echo_call(self._config, request))
            return body, formats.read_echo(request, body)
        if self._rung == "label":
            body = await self._post(formats.label_call(self._config, request))
            return body, formats.read_labels(request, body)
        if self._rung == "monte_carlo":
            raise ScoringError(
                f"{self._config.model} gives no log-probs (rung monte_carlo), but was asked to "
                "score texts; estimate them from samples"
            )
        raise ScoringError(f"{self._config.model} was opened without a way to score texts")

    async def _post(self, call: formats.Call) -> Any:
        url = f"{(self._config.base_url or '').rstrip('/')}/{call.path}"
        try:
            async with self._session.post(
                url, data=orjson.dumps(call.body), headers={"Content-Type": "application/json"}
            ) as response:
                content = await response.read()
                if response.status != 200:
                    raise self._failure(url, response, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"no answer from {url} ({_reason(error)})") from error
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            shown = self._without_key(content)[:120]
            raise TransientError(f"{url} sent a broken body: {shown!r}") from error

    def _without_key(self, content: bytes) -> bytes:
        # Some servers repeat the key that they refuse.
        key = _key(self._config).encode()
        return content.replace(key, b"***") if key else content

    def _failure(self, url: str, response: aiohttp.ClientResponse, content: bytes) -> LLMError:
        status, said = response.status, _message(self._without_key(content))
        if status in (401, 403):
            return AuthenticationError(
                f"{url} refused the key ({status}: {said}); put a valid key into the environment "
                f"variable {self._config.api_key_env} (setting llm.api_key_env)"
            )
        # Some servers say it with a 500.
        if status not in TRANSIENT_STATUS and _TOO_LONG.search(said):
            return ContextLengthError(f"{url} refused a request that is too long: {said}")
        if status in TRANSIENT_STATUS or (status >= 500 and status != NOT_IMPLEMENTED):
            return TransientError(f"{url} answered {status}: {said}", _retry_after_s(response))
        return LLMError(
            f"{url} answered {status}: {said}; check llm.base_url and llm.model, or leave a "
            "parameter out that it does not take, e.g. llm.omit=[seed]"
        )


def _key(config: LLMConfig) -> str:
    # Keys that were read from a file often bring its line end along.
    return os.environ.get(config.api_key_env, "").strip()


def _reason(error: Exception) -> str:
    is_encrypted = isinstance(error, aiohttp.ClientSSLError)
    if is_encrypted or not isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    # Its own text repeats the address in the words of the event loop.
    cause = error.os_error
    if cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return cause.strerror or str(cause)


def _message(content: bytes) -> str:
    try:
        body = orjson.loads(content)
        error = body.get("error", body) if isinstance(body, dict) else body
        message = error.get("message", error) if isinstance(error, dict) else error
        code = error.get("code") if isinstance(error, dict) else None
        return f"{message} {code or ''}".strip()[:300]
    except orjson.JSONDecodeError:
        return content[:200].decode(errors="replace").strip() or "no explanation"


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
