"""An endpoint over HTTP: one call, no second try."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from dln_core.config import LLMConfig
from dln_core.errors import LLMError, RequestError, ScoringError, TransientError
from dln_core.llm.adapters import GENERATIONS, SCORINGS, Call, echo
from dln_core.llm.adapters.providers import provider_of
from dln_core.llm.adapters.usage import read_usage
from dln_core.llm.base import (
    GenerateRequest,
    RequestList,
    Response,
    Sendable,
)
from dln_core.llm.capabilities import Route
from dln_core.llm.http_errors import failure, failure_within
from dln_core.llm.keys import key_of, without_key
from dln_core.llm.proxies import proxy_of

# Shorter than the keep-alive of common servers, so that no request meets a closing connection.
KEEP_ALIVE_S = 4.0
CONNECT_TIMEOUT_S = 20.0


@asynccontextmanager
async def open_session(config: LLMConfig) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the connection pool of one endpoint; the key comes from the environment."""
    async with aiohttp.ClientSession(
        # The limiter decides how many requests are in flight.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=config.timeout_s, sock_connect=CONNECT_TIMEOUT_S),
        # Not trust_env, which reads .netrc too: its password would go instead of the key.
        proxy=proxy_of(config.base_url or ""),
        headers={
            "Content-Type": "application/json",
            **provider_of(config).headers(config, key_of(config.api_key_env)),
        },
    ) as session:
        yield session


class Endpoint:
    """A language model behind an address.

    Args:
        config: Address, model and what to send along.
        session: The open connection pool.
        route: How it is used: by which api texts are asked for, on which rung they are scored;
            ``monte_carlo`` and None refuse to score.
    """

    def __init__(self, config: LLMConfig, session: aiohttp.ClientSession, route: Route) -> None:
        self._config = config
        self._session = session
        self._route = route
        self._generation = GENERATIONS[route.api]
        self._provider = provider_of(config)

    async def send(self, request: Sendable) -> Response:
        """Answer one request, or a list of them by one HTTP call.

        Raises:
            TransientError: If trying again may help.
            RequestError: If another request may succeed; of a list, each one alone.
            LLMError: If nothing of the kind will.
        """
        try:
            return await self._answer(request)
        except LLMError as error:
            # Some servers repeat the key, even in what looks like an answer.
            error.args = tuple(
                self._without_key(value) if isinstance(value, str) else value
                for value in error.args
            )
            raise

    async def _answer(self, request: Sendable) -> Response:
        if isinstance(request, GenerateRequest):
            body = await self._post(self._generation.write(self._config, request))
            return Response((self._generation.read(request, body),), read_usage(body))
        if isinstance(request, RequestList):
            return await self._send_list(request)
        if self._route.rung in SCORINGS:
            scoring = SCORINGS[self._route.rung]
            return await scoring.score(self._config, self._route.api, request, self._post)
        if self._route.rung == "monte_carlo":
            raise ScoringError(
                f"{self._config.model} gives no log-probs (rung monte_carlo), but was asked to "
                "score texts; estimate them from samples"
            )
        raise ScoringError(f"{self._config.model} was opened without a way to score texts")

    async def _send_list(self, scorings: RequestList) -> Response:
        if self._route.rung != "echo":
            raise RequestError(
                f"the api {self._route.api} (rung {self._route.rung}) has no lists of requests; "
                "send each alone"
            )
        return echo.read(
            scorings.requests, await self._post(echo.write(self._config, scorings.requests))
        )

    async def _post(self, call: Call) -> Any:
        url = self._provider.url(self._config, call)
        try:
            # A redirected request would come as another one, and take the key elsewhere.
            async with self._session.post(
                url, data=orjson.dumps(call.body), allow_redirects=False
            ) as response:
                content, status, headers = await response.read(), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = f"no answer from {url} ({_reason(error)})"
            raise TransientError(told, is_outage=True) from error
        if status != 200:
            said = self._without_key(content.decode(errors="replace"))
            raise failure(self._config, url, status, headers, said.encode())
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            said = self._without_key(content.decode(errors="replace"))
            raise TransientError(f"{url} sent a broken body: {said[:120]!r}") from error
        if isinstance(body, dict) and body.get("error"):
            said = self._without_key(content.decode(errors="replace"))
            within = failure_within(self._config, url, headers, body, said.encode())
            if within is not None:
                raise within
        return body

    def _without_key(self, text: str) -> str:
        # Before a text is cut, which could leave the beginning of a key.
        return without_key(text, self._config.api_key_env)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # Its own text repeats the proxy's address with its password.
        return f"the proxy answered {error.status} {error.message}"
    is_encrypted = isinstance(error, aiohttp.ClientSSLError)
    if is_encrypted or not isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    # Its own text repeats the address in the words of the event loop.
    cause = error.os_error
    errno = cause.errno or 0
    why = os.strerror(errno) if errno > 0 else cause.strerror or str(cause)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"proxy {error.host}:{error.port}: {why}"
    return why
