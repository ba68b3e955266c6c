"""The simulated model behind HTTP: its key, slots, limits and faults, and its command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import aiohttp
import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.concurrency import map_bounded
from dln_core.errors import ConfigError
from dln_core.llm.serving.listening import listen
from dln_core.llm.simulated.__main__ import main
from dln_core.llm.simulated.faults import KINDS, Faults, failed
from dln_core.llm.simulated.rate_limits import RateLimits, duration
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from dln_core.llm.simulated.slots import Slots
from tests.core.llm.simulated_client import ASKED, PROMPT, VERSION, running
from tests.core.llm.toys import FixedWorld


@pytest.mark.parametrize("header", ["Authorization", "api-key", "x-api-key"])
async def test_a_key_is_taken_from_any_providers_header_and_never_repeated(header):
    form = "Bearer {}" if header == "Authorization" else "{}"
    async with running(api_key="sk-right") as (_, client):
        for key, status in (("sk-right", 200), ("sk-wrong", 401), ("", 401)):
            asked = {"messages": ASKED, "max_tokens": 4}
            body = await client.post("/v1/messages", VERSION | {header: form.format(key)}, **asked)
            assert client.status == status
            assert "sk-" not in str(body)
    assert "sk-right" not in repr(ServerConfig(api_key="sk-right"))


async def test_no_more_sequences_run_at_once_than_there_are_slots_and_each_takes_its_time():
    async with running(slots=3, latency_s=0.01, seconds_per_token=0.02) as (server, client):
        ask = {"prompt": [PROMPT] * 4, "max_tokens": 1, "temperature": 0}
        await map_bounded(lambda _: client.post("/v1/completions", **ask), range(3))
    spans = list(server.slots.spans)
    assert (server.num_requests, server.slots.num_sequences, len(spans)) == (3, 12, 12)
    assert all(end - begin >= 0.03 for begin, end in spans)
    for begin, _ in spans:
        assert sum(other <= begin < end for other, end in spans) <= 3


async def test_sequences_are_served_in_order_of_arrival():
    slots, ended = Slots(1, 0.001), []

    async def run(number: int) -> None:
        await slots.run([0])
        ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(run, number)
    assert ended == list(range(10))


async def test_a_request_that_is_cancelled_gives_its_slot_back_and_its_place_in_the_queue():
    slots = Slots(1, 0.01)
    async with anyio.create_task_group() as group:
        group.start_soon(slots.run, [0] * 1000)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        await slots.run([0])
    assert slots.num_sequences < 1000


async def test_beyond_the_limit_requests_are_told_when_to_come_back():
    async with running(requests_per_minute=2) as (server, client):
        left = []
        for _ in range(2):
            await client.post("/v1/chat/completions", messages=ASKED)
            left.append(client.headers["x-ratelimit-remaining-requests"])
        refusal = await client.post("/v1/chat/completions", messages=ASKED)
    assert left == ["1", "0"]
    assert client.status == 429
    assert refusal["error"]["code"] == "rate_limit_exceeded"
    assert 55 < int(client.headers["Retry-After"]) <= 60
    assert client.headers["x-ratelimit-limit-requests"] == "2"
    assert server.num_limited == 1


@given(
    st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(1, 30)), max_size=40),
    st.integers(1, 8),
    st.integers(1, 80),
)
def test_no_minute_holds_more_than_its_limits_and_a_told_wait_is_enough(steps, requests, tokens):
    now, taken = 0.0, []
    limits = RateLimits(requests, tokens, clock=lambda: now)
    for pause, amount in steps:
        now += pause
        wait_s = limits.wait_s(amount)
        if wait_s > 0 and amount <= tokens:
            now += wait_s + 1e-6
            assert limits.wait_s(amount) == 0
        elif wait_s > 0:
            continue
        taken.append((now, amount))
        window = [spent for at, spent in taken if at > now - 60]
        assert len(window) <= requests
        assert sum(window) <= tokens


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0ms"), (0.02, "20ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s")]
)
def test_times_are_written_as_openai_writes_them(seconds, shown):
    assert duration(seconds) == shown


def test_faults_are_drawn_by_seed_and_number_at_their_rate():
    faults = Faults(0.1, seed=3)
    drawn = [faults.next(number) for number in range(4000)]
    again = Faults(0.1, seed=3)
    assert [again.next(number) for number in range(4000)] == drawn
    assert [Faults(0.1, seed=4).next(number) for number in range(4000)] != drawn
    assert set(faults.num_by_kind) == set(KINDS)
    assert 300 < faults.num_by_kind.total() < 500
    assert not any(Faults(0.0).next(number) for number in range(100))


async def test_faults_that_were_ordered_come_first():
    async with running() as (server, client):
        server.faults.ordered.extend([failed(503), KINDS["429_retry_after"]])
        statuses = []
        for _ in range(3):
            await client.post("/v1/chat/completions", messages=ASKED)
            statuses.append((client.status, client.headers.get("Retry-After")))
    assert statuses == [(503, None), (429, "1"), (200, None)]


@pytest.mark.parametrize("kind", ["reset", "hang"])
async def test_a_connection_that_is_cut_or_hangs_leaves_the_server_usable(kind):
    async with running() as (server, client):
        server.faults.ordered.append(KINDS[kind])
        with pytest.raises((aiohttp.ClientError, TimeoutError)), anyio.fail_after(0.2):
            await client.post("/v1/chat/completions", messages=ASKED)
        await client.post("/v1/chat/completions", messages=ASKED)
    assert client.status == 200


async def test_a_port_that_is_taken_is_an_error_with_the_remedy():
    async with listen(SimulatedServer(FixedWorld()).build_app()) as address:
        port = int(address.removesuffix("/v1").rsplit(":", 1)[1])
        with pytest.raises(ConfigError, match=f"{port} cannot be listened on.*--port 0"):
            async with listen(SimulatedServer(FixedWorld()).build_app(), port=port):
                pytest.fail("it listens")


@pytest.mark.parametrize(
    "wrong",
    [["--faults", "502"], ["--fault-share", "2"], ["--slots", "0"], ["--latency", "-1"]],
)
def test_wrong_usage_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--port", "0", *wrong])
    assert caught.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_an_empty_key_is_refused_by_the_name_of_its_variable(monkeypatch, capsys):
    monkeypatch.delenv("NO_KEY", raising=False)
    assert main(["serve", "--port", "0", "--api-key-env", "NO_KEY"]) == 2
    assert "NO_KEY" in capsys.readouterr().err


def test_the_command_says_where_it_listens_and_ends_quietly_on_ctrl_c():
    with subprocess.Popen(
        [sys.executable, "-m", "dln_core.llm.simulated", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert said.startswith("serving simulated at http://127.0.0.1:")
    assert said.endswith("/v1\n")
    assert (process.returncode, rest) == (0, "")
