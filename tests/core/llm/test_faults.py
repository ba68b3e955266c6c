"""Trials against a server that misbehaves, over real HTTP."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import anyio
import pytest

from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LimitsConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.errors import AuthenticationError, UnreachableError
from dln_core.llm import retry
from dln_core.llm.simulated import InContextReader
from dln_core.llm.simulated.faults import KINDS
from dln_core.llm.simulated.server import ServerConfig
from dln_core.trial import Services, Trial
from tests.servers import serve

NUM_STEPS = 2
# Calls after which a trial is in the middle of its work.
ENOUGH = 40
TWO_LAYERS = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=64),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)
# By the rung that training finds there.
SWITCHES = {
    "score": {},
    "echo": {"routes": frozenset({"completions"})},
    "prompt_logprobs": {
        "routes": frozenset({"chat/completions", "tokenize"}),
        "prompt_logprobs": "true",
    },
    "monte_carlo": {"routes": frozenset({"chat/completions"}), "next_token": "null"},
}
# Hanging calls end by their timeout alone.
SLOW = {"hang": pytest.mark.slow}
TENTH = ServerConfig(fault_share=0.1, seed=5)


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait before another attempt is longer than a few milliseconds, asked for or not."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.002)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.01)


def settings_for(server, **llm) -> TrialSettings:
    endpoint = {"provider": "openai_compatible", "model": "simulated", "timeout_s": 0.5} | llm
    return TrialSettings(
        task=TaskConfig(name="triage"),
        data=DataConfig(max_dev=6, max_test=6),
        network=TWO_LAYERS,
        trainer=TrainerConfig(num_iterations=NUM_STEPS, batch_size=4, num_prompts=3, num_hidden=2),
        llm=LLMConfig(base_url=server.base_url, **endpoint),
        seed=13,
    )


def services_in(folder) -> Services:
    """Services whose store of answers is empty as yet."""
    cache = CacheConfig(mode="off", dir=str(folder))
    return Services(cache=cache, limits=LimitsConfig(max_concurrency=32))


async def train(server, services, after_unit=lambda advance: None, **llm):
    """Train to the end; return every unit of work."""
    done = []
    async with Trial.open(settings_for(server, **llm), services) as trial:
        while not done or not done[-1].done:
            done.append(await trial.advance(done[-1].state if done else None))
            after_unit(done[-1])
    return done


def result(done):
    """All that a trial leaves but times, payments and what the probe met."""
    return [(unit.state, _deterministic(unit.event)) for unit in done]


def _deterministic(event):
    usage = {
        role: {name: count for name, count in counts.items() if not name.startswith("paid")}
        for role, counts in event["usage"].items()
    }
    kept = {k: v for k, v in event.items() if k not in ("seconds", "cost_usd", "refused")}
    return kept | {"usage": usage}


def prompts_of(unit) -> list:
    return [layer["prompts"] for layer in unit.event["network"]["layers"]]


def port_of(server) -> int:
    return int(server.base_url.removesuffix("/v1").rsplit(":", 1)[1])


@pytest.fixture(scope="module")
async def undisturbed(tmp_path_factory):
    """What a server that never fails is trained to, its texts scored."""
    async with serve(InContextReader()) as server:
        return result(await train(server, services_in(tmp_path_factory.mktemp("undisturbed"))))


@pytest.mark.slow
@pytest.mark.parametrize("rung", SWITCHES)
async def test_training_on_a_server_that_fails_every_tenth_call_ends_as_if_it_never_failed(
    tmp_path, rung
):
    async with serve(InContextReader(), **SWITCHES[rung]) as server:
        expected = result(await train(server, services_in(tmp_path / "undisturbed")))
    async with serve(InContextReader(), config=TENTH, **SWITCHES[rung]) as server:
        faults, met = server.served.faults.num_by_kind, []
        done = await train(
            server,
            services_in(tmp_path / "disturbed"),
            after_unit=lambda unit: met.append(faults.total()),
        )
    assert result(done) == expected
    assert [unit.event["kind"] for unit in done] == ["start", *["step"] * NUM_STEPS, "finish"]
    assert done[0].event["rung"] == rung
    # The faults were no matter of the probe alone, and there was something to be disturbed.
    assert all(before < after for before, after in pairwise(met[:-1]))
    assert prompts_of(done[0]) != prompts_of(done[-2])


@pytest.mark.parametrize("kind", [pytest.param(k, marks=SLOW.get(k, ())) for k in KINDS])
async def test_no_kind_of_fault_changes_a_result(tmp_path, undisturbed, kind):
    often = ServerConfig(fault_share=0.2, fault_kinds=(kind,), seed=1)
    async with serve(InContextReader(), config=often) as server:
        done = await train(server, services_in(tmp_path))
    assert server.served.faults.num_by_kind[kind] > 20
    assert result(done) == undisturbed


async def test_a_refused_key_ends_a_trial_at_its_first_request(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-not-the-right-one")
    async with serve(InContextReader(), required_key="right") as server:
        with pytest.raises(AuthenticationError, match="variable SOME_KEY") as caught:
            await train(server, services_in(tmp_path), api_key_env="SOME_KEY")
    assert server.num_requests == 1
    assert "sk-not-the-right-one" not in repr(caught.value)


async def test_a_key_that_is_revoked_in_mid_run_ends_it_without_another_try(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "right")
    async with serve(InContextReader(), required_key="right") as server:

        def revoke(unit) -> None:
            server.required_key = "another"
            server.seen.clear()

        with pytest.raises(AuthenticationError, match="variable SOME_KEY"):
            await train(server, services_in(tmp_path), revoke, api_key_env="SOME_KEY")
    bodies = [str(seen.body) for seen in server.seen]
    assert len(bodies) == len(set(bodies)) > 0


async def test_a_server_that_goes_away_and_comes_back_costs_time_and_no_result(
    tmp_path, monkeypatch, undisturbed
):
    # Ten attempts outlast its absence.
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 1.0)
    ended, done = anyio.Event(), []

    async def run(server) -> None:
        done.extend(await train(server, services_in(tmp_path)))
        ended.set()

    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            async with serve(InContextReader()) as first:
                group.start_soon(run, first)
                await first.until(lambda: first.num_requests >= ENOUGH)
                assert not ended.is_set()
            # Nobody listens now; calls that were open have ended without an answer.
            async with serve(InContextReader(), port=port_of(first)) as second:
                await ended.wait()
    assert second.num_requests > 0
    assert result(done) == undisturbed


async def test_a_trial_whose_server_stays_away_goes_on_later_from_what_was_answered(
    tmp_path, undisturbed
):
    services = services_in(tmp_path)
    with pytest.raises(UnreachableError, match="gave up after 10 attempts"):
        await train_until_it_is_gone(services)
    async with serve(InContextReader()) as server:
        assert result(await train(server, services)) == undisturbed
        num_later = server.num_requests
    async with serve(InContextReader()) as server:
        await train(server, services_in(tmp_path / "anew"))
        assert num_later < server.num_requests


async def train_until_it_is_gone(services) -> None:
    """Train on a server that leaves for good, and raise what the trial ends with."""
    errors = []

    async def run(server) -> None:
        try:
            await train(server, services)
        except UnreachableError as error:
            errors.append(error)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group, serve(InContextReader()) as server:
            group.start_soon(run, server)
            await server.until(lambda: server.num_requests >= ENOUGH)
    raise errors[0]


async def test_a_cancelled_trial_leaves_neither_task_nor_connection(tmp_path):
    async with serve(InContextReader()) as server:
        before = asyncio.all_tasks()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(train, server, services_in(tmp_path))
                await server.until(lambda: server.num_requests >= ENOUGH)
                server.hold()
                await server.until(lambda: server.in_flight >= 2)
                group.cancel_scope.cancel()
            await server.until(lambda: server.in_flight == server.num_connections == 0)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert left == []
