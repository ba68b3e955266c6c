"""A simulated server that runs in a test, and a client that posts to it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import aiohttp

from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from tests.core.llm.toys import QUESTION, FixedWorld

PROMPT = QUESTION[0].text
ASKED = [{"role": "user", "content": PROMPT}]
VERSION = {"anthropic-version": "2023-06-01"}


class Client:
    """Posts to a server that runs."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def post(self, path: str, headers=None, **body):
        url = f"{self._address.removesuffix('/v1')}{path}"
        async with self._session.post(url, json=body, headers=headers) as response:
            self.status, self.headers = response.status, response.headers
            return await response.json()


@asynccontextmanager
async def running(world=None, **config):
    server = SimulatedServer(world or FixedWorld(), ServerConfig(**config))
    async with (
        listen(server.build_app()) as address,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield server, Client(session, address)
