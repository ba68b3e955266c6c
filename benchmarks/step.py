"""One training step of two layers against a server of 32 slots, as one trainer or several make it.

B = 20 examples, N = 20 proposals a layer, K = 5 hidden samples, preset ``paper``; the server is
simulated (40 ms a text and 10 ms a token written, at most 32 texts at once) and runs in this
process, each trainer in one of its own.  Slot-time used is the share of the server's 32 slots
that is busy between the 5th and the 95th percentile of the starts of its texts.  The result of
every step is compared with that of one call a request, without lists, cache and limits.

Run from the root of the repository: ``python -m benchmarks.step``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import numpy as np
import orjson
import yaml
from anyio.streams.buffered import BufferedByteReceiveStream

from benchmarks.babble import ANSWERS, Babble
from dln_core.building import build_network
from dln_core.concurrency import map_bounded
from dln_core.config import CacheConfig, LimitsConfig, LLMConfig, NetworkConfig, TrainerConfig
from dln_core.config.reading import config_from
from dln_core.llm.base import GenerateRequest, LanguageModel, Request, Response
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import connect, open_stores
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.ledger import Ledger
from dln_core.llm.local_limiter import LocalLimiters
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from dln_core.state import TrainerState
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.task import Task
from dln_core.types import Example, Splits
from tests.trainers import trainer_of
from tests.worlds import parity_task

CONF = Path(__file__).parents[1] / "conf"
SLOTS, LATENCY_S, SECONDS_PER_TOKEN = 32, 0.04, 0.01
BARE_TEXTS, BARE_WORDS = 800, 200


def _settings(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return values


class Counted:
    """Counts the texts that a model is asked for: generations, and targets of scorings."""

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self.num_generated = 0
        self.num_scored = 0

    async def send(self, request: Request) -> Response:
        """Count and answer."""
        if isinstance(request, GenerateRequest):
            self.num_generated += 1
        else:
            self.num_scored += len(request.targets)
        return await self._inner.send(request)


def free_task(seed: int) -> Task:
    """Numbers, and a Yes or No that is written freely: one target a scoring, as in the paper."""
    task = parity_task(num_train=200, num_dev=8, first=1_000 * seed)

    def free(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(e, target=ANSWERS[e.target == "Odd"], labels=()) for e in examples)

    splits = Splits(**{name: free(getattr(task.splits, name)) for name in ("train", "dev", "test")})
    return replace(task, labels=(), splits=splits, answer_kind=AnswerKind("text"))


class Stepper:
    """Makes the first step of a trainer on a model.

    Args:
        model: Answers.
        seed: The trainer's, and that of its data.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self.model = Counted(model)
        paper = config_from(TrainerConfig, _settings("trainer/paper"))
        # Two, so that the first step ends without a validation.
        config = replace(paper, num_iterations=2, validate_every=0)
        self._trainer = trainer_of(self.model, free_task(seed), config, seed)
        self._network = config_from(NetworkConfig, _settings("network/dln2"))

    async def begin(self) -> TrainerState:
        """Validate the initial network."""
        return await self._trainer.initial_state(build_network(self._network, self._trainer.task))

    async def step(self, state: TrainerState) -> list[Any]:
        """Make the step; return its prompts and what was recorded, as JSON values."""
        after, info = await self._trainer.step(state, self._trainer.draw_batch(state))
        prompts = [prompt.to_dict() for prompt in after.network.prompts()]
        return json.loads(json.dumps([prompts, info.candidates, info.metrics]))


def llm_config(address: str) -> LLMConfig:
    """Settings that reach the server."""
    return LLMConfig(
        provider="openai_compatible", model="simulated", base_url=address, api="completions"
    )


async def run_trainer(address: str, seed: int) -> None:
    """Make a step through the whole way to the server, when a line arrives; print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        cache = CacheConfig(dir=folder)
        async with (
            open_stores(cache, "step") as stores,
            connect(
                llm_config(address),
                rung="echo",
                limits=LimitsConfig(max_concurrency=None),
                limiters=LocalLimiters(),
                stores=stores,
                ledgers=[Ledger()],
            ) as connection,
        ):
            stepper = Stepper(connection.model, seed)
            state = await stepper.begin()
            asked = stepper.model.num_generated, stepper.model.num_scored
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            cpu, wall = time.process_time(), time.perf_counter()
            result = await stepper.step(state)
            took = {
                "cpu_s": time.process_time() - cpu,
                "wall_s": time.perf_counter() - wall,
                "num_generated": stepper.model.num_generated - asked[0],
                "num_scored": stepper.model.num_scored - asked[1],
                "result": result,
            }
            print(json.dumps(took), flush=True)


@dataclass(frozen=True, slots=True)
class Use:
    """What the server saw of one or several steps.

    Attributes:
        busy: Share of its slots that was busy between the 5th and the 95th percentile of starts.
        num_texts: Texts that it ran.
        num_requests: HTTP requests.
    """

    busy: float
    num_texts: int
    num_requests: int


def slot_use(spans: Sequence[tuple[float, float]], num_slots: int = SLOTS) -> float:
    """Share of the slots that is busy between the 5th and the 95th percentile of the starts."""
    starts = np.sort([start for start, _ in spans])
    low, high = np.quantile(starts, [0.05, 0.95])
    inside = [
        min(end, high) - max(start, low) for start, end in spans if end > low and start < high
    ]
    return sum(inside) / (num_slots * (high - low))


async def run_steps(num_trainers: int) -> tuple[Use, list[dict[str, Any]]]:
    """Let so many processes make a step on one server, and return what both sides saw."""
    config = ServerConfig(slots=SLOTS, latency_s=LATENCY_S, seconds_per_token=SECONDS_PER_TOKEN)
    server = SimulatedServer(Babble(), config)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(listen(server.build_app()))
        lines, processes = [], []
        for seed in range(1, num_trainers + 1):
            process = await stack.enter_async_context(
                await anyio.open_process(child(address, "--seed", str(seed)), stderr=None)
            )
            processes.append(process)
            lines.append(BufferedByteReceiveStream(process.stdout))
        for line in lines:
            await line.receive_until(b"\n", 100)
        server.slots.spans.clear()
        before = server.num_requests
        for process in processes:
            await process.stdin.send(b"\n")
        took = [json.loads(await line.receive_until(b"\n", 1 << 24)) for line in lines]
    spans = list(server.slots.spans)
    use = Use(slot_use(spans), len(spans), server.num_requests - before)
    return use, took


async def print_bare_cost(address: str) -> None:
    """Print the CPU that aiohttp alone takes for a scored text, one a call and eight a call."""
    text = " ".join(f"word{number}" for number in range(BARE_WORDS)) + " Yes"
    async with aiohttp.ClientSession() as session:

        async def post(size: int) -> None:
            body = {"prompt": [text] * size, "max_tokens": 1, "echo": True, "logprobs": 1}
            async with session.post(f"{address}/completions", data=orjson.dumps(body)) as answer:
                orjson.loads(await answer.read())

        costs = []
        for size in (1, 8):
            cpu = time.process_time()
            await map_bounded(post, [size] * (BARE_TEXTS // size), bound=SLOTS)
            costs.append(1e3 * (time.process_time() - cpu) / BARE_TEXTS)
    print(f"aiohttp alone: {costs[0]:.2f} ms of CPU a text, {costs[1]:.2f} with lists of eight")


def is_same(first: Any, second: Any) -> bool:
    """Compare JSON values; numbers may differ by rounding."""
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-6)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(is_same(first[k], second[k]) for k in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


async def plain_result(seed: int) -> list[Any]:
    """Make the same step on the same model, served at once, by one call a request."""
    server = SimulatedServer(Babble())
    async with listen(server.build_app()) as address:
        config = llm_config(address)
        async with open_session(config) as session:
            stepper = Stepper(Endpoint(config, session, Route("completions", "echo")), seed)
            return await stepper.step(await stepper.begin())


async def main() -> None:
    """Run one trainer, then four."""
    for num_trainers in (1, 4):
        use, took = await run_steps(num_trainers)
        num_scored = sum(one["num_scored"] for one in took)
        print(
            f"{num_trainers} trainer(s): {100 * use.busy:.0f} % of slot-time, "
            f"{max(one['wall_s'] for one in took):.1f} s; a trainer: "
            f"{(sum(one['num_generated'] for one in took) + num_scored) / num_trainers:,.0f} texts "
            f"asked, {use.num_texts / num_trainers:,.0f} sent in "
            f"{use.num_requests / num_trainers:,.0f} requests, "
            f"{1e3 * sum(one['cpu_s'] for one in took) / num_scored:.2f} ms of CPU a scored target"
        )
        plain = [await plain_result(seed) for seed in range(1, num_trainers + 1)]
        equal = [is_same(one["result"], other) for one, other in zip(took, plain, strict=True)]
        print(f"  results equal to those of one call a request: {sum(equal)} of {num_trainers}")
    async with listen(SimulatedServer(Babble()).build_app()) as address:
        await anyio.run_process(child(address), stdout=None, stderr=None)


def child(address: str, *more: str) -> list[str]:
    """The command of a process of this benchmark; without a seed it makes no step."""
    return [sys.executable, "-m", "benchmarks.step", "--address", address, *more]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    loop = {"use_uvloop": True}
    if options.seed:
        anyio.run(run_trainer, options.address, options.seed, backend_options=loop)
    elif options.address:
        anyio.run(print_bare_cost, options.address, backend_options=loop)
    else:
        anyio.run(main)
