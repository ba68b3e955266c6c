"""Clients of one limiter in virtual time, and an endpoint that notes what it sees."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from dln_core.config import LimitsConfig
from dln_core.llm.limits import Cost, Outcome
from orchestrator.limiter.client import ClusterLimiter, LimiterAwayError
from orchestrator.limiter.messages import Allotment, Report
from orchestrator.limiter.server import SharedLimits

WAY_S = 0.002


@dataclass(slots=True)
class Started:
    """A call that an endpoint got: when, from whom, how many texts and tokens."""

    at: float
    client: int
    num_texts: int
    tokens: int


@dataclass(slots=True)
class Toy:
    """A limiter, its clients and their endpoint.

    Attributes:
        limits: What every client is told; one each, or one for all.
        num_texts: Of a call, drawn at random.
        latency_s: Of a call, drawn at random.
        tokens: Of every call; estimated as four times as many.
        is_away: Whether the limiter cannot be reached.
        started: What the endpoint got.
    """

    limits: LimitsConfig
    num_texts: tuple[int, ...] = (1,)
    latency_s: tuple[float, float] = (0.5, 1.5)
    tokens: int = 100
    is_away: bool = False
    started: list[Started] = field(default_factory=list)
    num_in_flight: int = 0
    max_in_flight: int = 0
    shared: SharedLimits = field(init=False)

    def __post_init__(self) -> None:
        self.restart(pause_s=0.0)

    def restart(self, pause_s: float) -> None:
        """Forget all that the limiter knows."""
        self.shared = SharedLimits(pause_s=pause_s, clock=anyio.current_time)

    async def exchange(self, report: Report) -> Allotment:
        """Take a report to the limiter and its answer back."""
        await anyio.sleep(WAY_S / 2)
        if self.is_away:
            raise LimiterAwayError("away")
        allotment = self.shared.exchange(report)
        await anyio.sleep(WAY_S / 2)
        return allotment

    def client(self) -> ClusterLimiter:
        """Make one more client."""
        return ClusterLimiter(self.exchange, self.limits)

    async def call(self, number: int, limiter: ClusterLimiter, rng: random.Random) -> None:
        """Make one call through a client."""
        texts = rng.choice(self.num_texts)
        cost = Cost(kind="toy", num_calls=1, num_texts=texts, tokens=4 * self.tokens)
        lease = await limiter.acquire(cost)
        self.started.append(Started(anyio.current_time(), number, texts, self.tokens))
        self.num_in_flight += texts
        self.max_in_flight = max(self.max_in_flight, self.num_in_flight)
        outcome = Outcome.failed
        try:
            await anyio.sleep(rng.uniform(*self.latency_s))
            outcome = Outcome.answered
        finally:
            self.num_in_flight -= texts
            lease.settle(outcome, self.tokens)

    async def keep_busy(self, number: int, num_workers: int = 12) -> None:
        """Be a client that always has so many calls to make."""
        limiter = self.client()

        async def work(seed: int) -> None:
            rng = random.Random(seed)
            while True:
                await self.call(number, limiter, rng)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.run)
            for worker in range(num_workers):
                tasks.start_soon(work, 1000 * number + worker)

    def texts_by_client(self, since: float = 0.0) -> dict[int, int]:
        """Texts that each client got to start."""
        totals: dict[int, int] = {}
        for one in self.started:
            if one.at >= since:
                totals[one.client] = totals.get(one.client, 0) + one.num_texts
        return totals


async def busy_for(
    seconds: float,
    toy: Toy,
    num_clients: int,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Keep so many clients busy for a time, while something else happens."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for number in range(num_clients):
                tasks.start_soon(toy.keep_busy, number)
            if meanwhile is not None:
                tasks.start_soon(meanwhile)
