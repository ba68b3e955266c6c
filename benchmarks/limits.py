"""How much of an endpoint's allowance is used, and how often it refuses.

A simulated endpoint on this machine answers 429 to whatever exceeds its allowance in the last 60
seconds, as hosted ones do.  Two clients, each with all transports and 256 requests at a time, work
on endings of very different lengths: one may send 600 requests a minute, one 200,000 tokens a
minute.  Counted are three minutes after the first one.  ``largest second`` is the most that
arrived in any second, by what the allowance is on average.
Run from the root of the repository: ``python -m benchmarks.limits``; it takes four minutes.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
import numpy as np
from aiohttp import web

from dln_core.concurrency import run_all
from dln_core.config import CacheConfig, LimitsConfig, LLMConfig
from dln_core.llm.base import GenerateRequest, LanguageModel, Request
from dln_core.llm.connect import connect, open_stores
from dln_core.llm.local_limiter import LocalLimiters
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import Handler, ServerConfig, SimulatedServer
from dln_core.types import Message

WARM_UP_S = 60.0
MEASURED_S = 180.0
NUM_WORKERS = 256
ENDINGS = tuple("word " * length for length in (1, 5, 20, 60, 150))
LIMITS = {
    "600 requests a minute": LimitsConfig(requests_per_minute=600),
    "200,000 tokens a minute": LimitsConfig(tokens_per_minute=200_000),
}
ROW = "{:<26}{:>10}{:>10}{:>10}{:>16}"
HEADINGS = ("allowance", "used", "calls", "refused", "largest second")


class Endings:
    """A world in which every ending is equally probable."""

    def distribution(self, request: Request) -> Mapping[str, float]:
        """Return the probability of every text that may follow."""
        return {text.strip(): 1 / len(ENDINGS) for text in ENDINGS}


@dataclass(slots=True)
class Watch:
    """What arrived and what was answered, with its time in seconds."""

    arrived: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    answered: list[tuple[float, int]] = field(default_factory=list)

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note one call."""
        self.arrived.append(time.monotonic())
        response = await handler(request)
        if response.status == 429:
            self.refused.append(self.arrived[-1])
        return response


async def measure(name: str, limits: LimitsConfig) -> str:
    """Keep one endpoint busy and write one line of the table."""
    watch = Watch()
    server = SimulatedServer(
        Endings(),
        ServerConfig(
            latency_s=0.3,
            seconds_per_token=0.01,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        async with (
            listen(server.build_app([watch.note])) as address,
            open_stores(CacheConfig(mode="off", dir=folder), name) as stores,
            connect(
                LLMConfig(provider="openai_compatible", model="simulated", base_url=address),
                rung=None,
                limits=limits,
                limiters=LocalLimiters(),
                stores=stores,
                ledgers=[],
            ) as connection,
        ):
            began = time.monotonic()
            with anyio.move_on_after(WARM_UP_S + MEASURED_S):
                await work(connection.model, watch)
    return row(name, limits, watch, began + WARM_UP_S)


async def work(model: LanguageModel, watch: Watch) -> None:
    """Ask for one text after another, endlessly, by many workers."""
    lengths = np.random.default_rng(13).integers(50, 600, size=10_000)
    numbers = itertools.count()

    async def ask() -> None:
        for number in numbers:
            text = f"Text {number}. " + "some word " * (int(lengths[number % len(lengths)]) // 2)
            response = await model.send(
                GenerateRequest(
                    messages=(Message("user", text),), max_tokens=200, temperature=1.0, seed=number
                )
            )
            num_tokens = response.usage.prompt_tokens + response.usage.completion_tokens
            watch.answered.append((time.monotonic(), num_tokens))

    async with anyio.create_task_group() as group:
        for _ in range(NUM_WORKERS):
            group.start_soon(ask)


def row(name: str, limits: LimitsConfig, watch: Watch, begin: float) -> str:
    """Write one line of the table."""
    end = begin + MEASURED_S
    arrived = [at for at in watch.arrived if begin <= at < end]
    refused = [at for at in watch.refused if begin <= at < end]
    answered = [(at, tokens) for at, tokens in watch.answered if begin <= at < end]
    if limits.requests_per_minute:
        allowance, used = limits.requests_per_minute, float(len(answered))
    else:
        allowance = limits.tokens_per_minute or 0.0
        used = float(sum(tokens for _, tokens in answered))
    minutes = MEASURED_S / 60
    per_second = len(arrived) / MEASURED_S
    return ROW.format(
        name,
        f"{100 * used / (allowance * minutes):.1f} %",
        len(arrived),
        f"{100 * len(refused) / len(arrived):.2f} %",
        f"{largest_second(arrived) / per_second:.2f}",
    )


def largest_second(times: Sequence[float]) -> int:
    """The most times within one second."""
    ends = np.searchsorted(times, np.asarray(times) + 1.0)
    return int((ends - np.arange(len(times))).max())


async def main() -> None:
    """Print the table."""
    rows = await run_all(*(partial(measure, name, limits) for name, limits in LIMITS.items()))
    print("\n".join([ROW.format(*HEADINGS), *rows]))


if __name__ == "__main__":
    anyio.run(main)
