"""How much of an endpoint's allowance eight actors use together, and how evenly.

A simulated endpoint on this machine answers 429 to whatever exceeds 1,200 requests in the last 60
seconds.  Eight Ray actors, each with all transports and 64 requests at a time, ask it through one
limiter.  Counted are three minutes after the first one.  ``least share`` is what the actor with the
fewest answers got, by an eighth of all.
Run from the root of the repository: ``python -m benchmarks.cluster_limits``; it takes four minutes.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import orjson
from aiohttp import web

from benchmarks.limits import Endings, largest_second
from dln_core.config import CacheConfig, LimitsConfig, LLMConfig
from dln_core.llm.base import GenerateRequest
from dln_core.llm.connect import connect, open_stores
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import Handler, ServerConfig, SimulatedServer
from dln_core.types import Message
from orchestrator.cluster.ray_cluster import Cluster
from orchestrator.cluster.ray_cluster import connect as connect_cluster
from orchestrator.limiter.remote import RemoteLimiters
from orchestrator.settings.schema import ClusterConfig

NUM_ACTORS = 8
NUM_WORKERS = 64
PER_MINUTE = 1200
SEEDS = 1_000_000


class BusyActor:
    """Asks for one text after another, by many workers.

    Args:
        number: Its own; its requests' seeds begin at so many millions.
        address: Where the endpoint is.
        limits: What the endpoint allows.
    """

    def __init__(self, number: int, address: str, limits: LimitsConfig) -> None:
        self._number = number
        self._address = address
        self._limits = limits

    async def ready(self) -> None:
        """Answer once the process is there."""

    async def run(self, seconds: float) -> float:
        """Ask for so long; return the CPU seconds that it took."""
        seeds = itertools.count(SEEDS * self._number)
        config = LLMConfig(provider="openai_compatible", model="simulated", base_url=self._address)
        cpu = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            async with (
                open_stores(CacheConfig(mode="off", dir=folder), "busy") as stores,
                connect(
                    config,
                    rung=None,
                    limits=self._limits,
                    limiters=RemoteLimiters(),
                    stores=stores,
                    ledgers=[],
                ) as connection,
            ):

                async def work() -> None:
                    for seed in seeds:
                        message = Message("user", f"Text {seed}.")
                        asked = GenerateRequest(
                            messages=(message,), max_tokens=200, temperature=1.0, seed=seed
                        )
                        await connection.model.send(asked)

                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(NUM_WORKERS):
                            tasks.start_soon(work)
        return time.process_time() - cpu


@dataclass(slots=True)
class Watch:
    """What arrived and what became of it: time in seconds, actor, HTTP status."""

    seen: list[tuple[float, int, int]] = field(default_factory=list)

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note one call."""
        arrived_at = time.monotonic()
        actor = orjson.loads(await request.read())["seed"] // SEEDS
        response = await handler(request)
        self.seen.append((arrived_at, actor, response.status))
        return response


@dataclass(frozen=True, slots=True)
class Figures:
    """What the endpoint saw of the actors.

    Attributes:
        used: Answers, by what the allowance is in that time.
        refused: Share of the calls that met a 429.
        least_share: Answers of the actor that got fewest, by an equal part of all.
        num_calls: Calls that arrived.
        largest_second: The most calls of any second, by the mean.
        cpu_s: CPU seconds of all actors, a second.
    """

    used: float
    refused: float
    least_share: float
    num_calls: int
    largest_second: float
    cpu_s: float


async def measure(cluster: Cluster, warm_up_s: float, measured_s: float) -> Figures:
    """Let the actors ask for so long, and count what comes after the warm-up."""
    watch = Watch()
    config = ServerConfig(latency_s=0.3, seconds_per_token=0.01, requests_per_minute=PER_MINUTE)
    limits = LimitsConfig(requests_per_minute=PER_MINUTE)
    async with listen(SimulatedServer(Endings(), config).build_app([watch.note])) as address:
        actors = [
            cluster.start_actor(BusyActor, f"busy {number}", number, address, limits)
            for number in range(NUM_ACTORS)
        ]
        for actor in actors:
            await actor.ready.remote()
        begin = time.monotonic() + warm_up_s
        runs = [actor.run.remote(warm_up_s + measured_s) for actor in actors]
        cpu_s = sum([await run for run in runs]) / (warm_up_s + measured_s)
        for actor in actors:
            cluster.stop_actor(actor)
    seen = [one for one in watch.seen if begin <= one[0] < begin + measured_s]
    return figures(seen, measured_s, cpu_s)


def figures(seen: Sequence[tuple[float, int, int]], seconds: float, cpu_s: float) -> Figures:
    """Sum up what was seen in so many seconds."""
    answered = Counter(actor for _, actor, status in seen if status == 200)
    total = answered.total()
    return Figures(
        used=total / (PER_MINUTE * seconds / 60),
        refused=sum(status == 429 for _, _, status in seen) / len(seen),
        least_share=min(answered[actor] for actor in range(NUM_ACTORS)) * NUM_ACTORS / total,
        num_calls=len(seen),
        largest_second=largest_second(sorted(at for at, _, _ in seen)) / (len(seen) / seconds),
        cpu_s=cpu_s,
    )


async def main(warm_up_s: float, measured_s: float) -> None:
    """Print the figures."""
    with connect_cluster(ClusterConfig(max_trials=NUM_ACTORS, dashboard_port=0)) as cluster:
        found = await measure(cluster, warm_up_s, measured_s)
    print(
        f"{NUM_ACTORS} actors, {PER_MINUTE:,} requests a minute: {100 * found.used:.1f} % used, "
        f"{found.num_calls:,} calls, {100 * found.refused:.2f} % refused, least share "
        f"{found.least_share:.2f}, largest second {found.largest_second:.2f}; an actor takes "
        f"{1e3 * found.cpu_s / NUM_ACTORS:.0f} ms of CPU a second"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds that do not count")
    parser.add_argument("--measured", type=float, default=180.0, help="seconds that count")
    options = parser.parse_args()
    anyio.run(main, options.warm_up, options.measured)
