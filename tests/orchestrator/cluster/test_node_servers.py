"""Servers of local models on the nodes of a cluster."""

from __future__ import annotations

import anyio
import pytest

from dln_core.errors import LLMError
from orchestrator.cluster.node_servers import ServerActor
from tests.orchestrator.cluster.test_local_server import SERVER, start


async def test_a_node_serves_until_it_is_told_to_end(monkeypatch):
    started = start(monkeypatch, SERVER)
    actor = ServerActor(["toy"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold)
        addresses = await actor.addresses()
        assert addresses == await actor.addresses()
        assert addresses["toy"].startswith("http://127.0.0.1:")
        assert started[0].returncode is None
        await actor.close()
    assert [process.returncode is None for process in started] == [False]


async def test_a_server_that_does_not_start_is_told_to_all_who_wait(monkeypatch):
    start(monkeypatch, "import sys; sys.exit('no such weights')")
    actor = ServerActor(["toy"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold)
        for _ in range(2):
            with pytest.raises(LLMError, match="no such weights"):
                await actor.addresses()
