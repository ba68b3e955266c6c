"""The server on real weights, asked over HTTP as any client would."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import numpy as np
import pytest
import pytest_asyncio
from anyio.from_thread import start_blocking_portal

from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.server import open_server

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
Body = dict[str, Any]


@dataclass
class Client:
    session: aiohttp.ClientSession
    base_url: str

    async def post(self, path: str, **body: Any) -> Body:
        status, answer = await self.try_post(path, {"model": MODEL, **body})
        assert status == 200, answer
        return answer

    async def try_post(self, path: str, body: Any) -> tuple[int, Body]:
        async with self.session.post(self.base_url + path, json=body) as response:
            return response.status, await response.json()


@pytest.fixture(scope="module")
def base_url(small_model: Path) -> Iterator[str]:
    engine = LocalEngine(small_model, exact=True)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_server(engine, MODEL)) as url,
    ):
        yield url


@pytest_asyncio.fixture
async def client(base_url: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, base_url)


def chat(text: str) -> list[Body]:
    return [{"role": "user", "content": text}]


async def test_the_model_is_listed_and_healthy(client: Client) -> None:
    async with client.session.get(client.base_url + "/models") as response:
        listed = await response.json()
    assert [model["id"] for model in listed["data"]] == [MODEL]
    async with client.session.get(client.base_url.removesuffix("/v1") + "/health") as response:
        assert response.status == 200


async def test_echo_and_score_agree(client: Client) -> None:
    context, target = "The capital of France is", " Paris, of course"
    score = await client.post("/score", prompt=context, targets=[target, " Rome"])
    echo = await client.post(
        "/completions", prompt=context + target, max_tokens=0, echo=True, logprobs=1
    )
    logprobs = echo["choices"][0]["logprobs"]
    assert echo["choices"][0]["text"] == context + target
    assert logprobs["token_logprobs"][0] is None
    own = [offset >= len(context) for offset in logprobs["text_offset"]]
    echoed = [v for v, mine in zip(logprobs["token_logprobs"], own, strict=True) if mine]
    assert score["scores"][0]["tokens"] == logprobs["tokens"][-len(echoed) :]
    np.testing.assert_allclose(score["scores"][0]["token_logprobs"], echoed, atol=1e-3)
    assert score["usage"]["prompt_tokens"] == own.count(False)
    assert echo["usage"]["completion_tokens"] == 0


async def test_messages_are_scored_after_the_models_own_template(client: Client) -> None:
    answer = await client.post("/score", messages=chat("Say yes."), targets=["Yes", "Zebra"])
    yes, zebra = (sum(score["token_logprobs"]) for score in answer["scores"])
    assert zebra < yes < 0
    # The template puts a system turn first, so the context is longer than the user's own turn.
    assert answer["usage"]["prompt_tokens"] > 20


async def test_many_concurrent_scores_equal_single_ones(client: Client) -> None:
    shown = "Message: it burns\nLabel: Urgent\nMessage: all fine\nLabel: Normal\n"
    texts = [f"{shown}Message: order {i}{' is late' * (i % 3)}\nLabel:" for i in range(40)]
    answers: dict[str, Body] = {}

    async def ask(text: str) -> None:
        answers[text] = await client.post("/score", prompt=text, targets=[" Urgent", " Normal"])

    async with anyio.create_task_group() as tasks:
        for text in texts:
            tasks.start_soon(ask, text)
    for text in texts[:3]:
        alone = await client.post("/score", prompt=text, targets=[" Urgent", " Normal"])
        for one, other in zip(alone["scores"], answers[text]["scores"], strict=True):
            np.testing.assert_allclose(one["token_logprobs"], other["token_logprobs"], atol=1e-3)


async def test_scoring_and_generation_run_side_by_side(client: Client) -> None:
    make: Body = {"messages": chat("Invent a name."), "max_tokens": 24, "temperature": 0}
    score: Body = {"prompt": "The capital of France is", "targets": [" Paris"]}
    texts: list[str] = []
    logprobs: list[float] = []

    async def generate() -> None:
        answer = await client.post("/chat/completions", **make)
        texts.append(answer["choices"][0]["message"]["content"])

    async def ask_score() -> None:
        answer = await client.post("/score", **score)
        logprobs.extend(answer["scores"][0]["token_logprobs"])

    await generate()
    await ask_score()
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(generate)
            tasks.start_soon(ask_score)
    assert len(texts) == 7
    assert len(set(texts)) == 1
    np.testing.assert_allclose(logprobs, logprobs[0], atol=1e-3)


async def test_a_short_answer_does_not_wait_for_a_long_one(client: Client) -> None:
    ended: list[str] = []

    async def ask(name: str, max_tokens: int) -> None:
        await client.post("/completions", prompt="Once", max_tokens=max_tokens, temperature=0)
        ended.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "long", 120)
        async with client.session.post(
            client.base_url + "/completions",
            json={"prompt": "Twice", "max_tokens": 4, "temperature": 0, "stream": True},
        ) as response:
            assert b"[DONE]" in await response.read()
        await ask("short", 2)
    assert ended == ["short", "long"]


async def test_a_client_that_goes_away_stops_its_generation(client: Client) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1):
            await client.post("/completions", prompt="Once", max_tokens=8000, temperature=0.9)
    # Eight thousand tokens would take minutes; the others are served meanwhile and at the end.
    assert await client.post("/score", prompt="a", targets=["b"])


async def test_equal_seeds_repeat_and_choices_differ(client: Client) -> None:
    ask: Body = {"messages": chat("Invent a name."), "max_tokens": 12, "temperature": 1.0, "n": 3}
    first, second, other = [
        [choice["message"]["content"] for choice in answer["choices"]]
        for answer in [await client.post("/chat/completions", seed=s, **ask) for s in (7, 7, 8)]
    ]
    assert first == second
    assert first != other
    assert len(set(first)) > 1


async def test_prompts_may_come_as_a_list_of_texts_or_tokens(client: Client) -> None:
    texts = await client.post(
        "/completions", prompt=["One, two,", "Paris is"], max_tokens=3, temperature=0, n=2
    )
    assert [choice["index"] for choice in texts["choices"]] == [0, 1, 2, 3]
    assert texts["choices"][0]["text"] == texts["choices"][1]["text"]
    assert texts["choices"][0]["text"] != texts["choices"][2]["text"]
    assert texts["usage"]["completion_tokens"] == 12
    numbers = await client.post("/completions", prompt=[[504, 3575]], max_tokens=2, temperature=0)
    assert numbers["usage"]["prompt_tokens"] == 2


async def test_a_greedy_token_has_the_logprob_that_its_echo_has(client: Client) -> None:
    prompt = "The capital of France is"
    made = await client.post("/completions", prompt=prompt, max_tokens=1, temperature=0, logprobs=1)
    token = made["choices"][0]["text"]
    echo = await client.post(
        "/completions", prompt=prompt + token, max_tokens=0, echo=True, logprobs=1
    )
    assert echo["choices"][0]["logprobs"]["token_logprobs"][-1] == pytest.approx(
        made["choices"][0]["logprobs"]["token_logprobs"][0], abs=1e-3
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "code"),
    [
        ("/completions", {"prompt": "a", "n": "two"}, 400, "n", None),
        ("/completions", {"prompt": ""}, 400, "prompt", None),
        ("/completions", {"prompt": [999_999]}, 400, "prompt", None),
        ("/completions", {"prompt": "a", "max_tokens": 8192}, 400, None, "context_length_exceeded"),
        ("/completions", {"prompt": "a", "model": "gpt-4"}, 404, "model", "model_not_found"),
        ("/chat/completions", {"messages": "hi"}, 400, "messages", None),
        ("/score", {"prompt": "a", "targets": [""]}, 400, "targets", None),
        ("/score", {"prompt": "a", "targets": []}, 400, "targets", None),
        ("/score", {"targets": ["a"]}, 400, "messages", None),
        ("/score", {"prompt": "a " * 9000, "targets": ["b"]}, 400, None, "context_length_exceeded"),
        ("/score", ["no object"], 400, None, None),
        ("/nowhere", {}, 404, None, None),
    ],
)
async def test_wrong_requests_are_answered_in_openais_shape(
    client: Client, path: str, body: Any, status: int, param: str | None, code: str | None
) -> None:
    got, answer = await client.try_post(path, body)
    assert got == status
    assert answer["error"]["param"] == param
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]


def test_the_command_serves_and_ends_on_sigterm(small_model: Path) -> None:
    command = [sys.executable, "-m", "dln_core.llm.local", "serve", MODEL, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert line.startswith(f"serving {MODEL} at http://127.0.0.1:")
    assert line.endswith("/v1\n")
