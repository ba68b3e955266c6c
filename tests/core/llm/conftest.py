"""Fixtures of the tests of the language models' transports."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dln_core.llm import retry
from tests.core.llm.toys import FixedWorld
from tests.servers import OpenAIServer, serve


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with serve(FixedWorld()) as running:
        yield running


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential waits start at five milliseconds, so that faults pass quickly."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.005)
