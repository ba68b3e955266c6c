"""OpenAI's own client against the served model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from anyio.from_thread import start_blocking_portal

from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.server import open_server

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
ASK: Any = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def client(small_model: Path) -> Iterator[openai.OpenAI]:
    engine = LocalEngine(small_model, exact=True)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_server(engine, MODEL)) as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120) as client,
    ):
        yield client


def chat(client: openai.OpenAI, **settings: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=12, **settings)


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_chat_logprobs_name_the_best_tokens_in_order(client: openai.OpenAI) -> None:
    answer = chat(client, temperature=0, logprobs=True, top_logprobs=20)
    content = answer.choices[0].logprobs.content
    raw = b"".join(bytes(token.bytes) for token in content)
    assert raw.decode() == answer.choices[0].message.content
    for token in content:
        best = [other.logprob for other in token.top_logprobs]
        assert len(best) == 20
        assert best == sorted(best, reverse=True)
        # Greedy: what was taken is what was best; all are shares of one distribution.
        assert token.logprob == best[0]
        assert sum(map(math.exp, best)) <= 1 + 1e-5


def test_choices_have_seeds_of_their_own_that_repeat(client: openai.OpenAI) -> None:
    first, second = (chat(client, n=3, seed=5, temperature=1.0) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert len(set(texts)) > 1


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    settings: Any = {"temperature": 0.8, "seed": 3, "n": 2, "logprobs": True}
    whole = chat(client, **settings)
    texts, reasons, tokens = ["", ""], [None, None], [0, 0]
    usage = None
    for piece in chat(client, stream=True, stream_options={"include_usage": True}, **settings):
        usage = piece.usage or usage
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content
            tokens[choice.index] += len(choice.logprobs.content)
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert tokens == [len(choice.logprobs.content) for choice in whole.choices]
    assert usage == whole.usage


def test_a_stop_string_never_shows_in_a_stream(client: openai.OpenAI) -> None:
    free = chat(client, temperature=0).choices[0].message.content
    stop = free[4:9]
    pieces = chat(client, temperature=0, stop=stop, stream=True)
    text = "".join(choice.delta.content for piece in pieces for choice in piece.choices)
    assert text == free[: free.index(stop)]


def test_completions_take_lists_echo_and_no_tokens_at_all(client: openai.OpenAI) -> None:
    prompts = ["The capital of France is Paris", "One, two, three"]
    echo = client.completions.create(
        model=MODEL, prompt=prompts, echo=True, logprobs=3, max_tokens=0
    )
    for prompt, choice in zip(prompts, echo.choices, strict=True):
        assert choice.text == prompt
        assert choice.logprobs is not None
        assert "".join(choice.logprobs.tokens or []) == prompt
        values, best = choice.logprobs.token_logprobs, choice.logprobs.top_logprobs
        assert values is not None
        assert best is not None
        assert all(
            value <= max(top.values()) for value, top in zip(values[1:], best[1:], strict=True)
        )
        assert all(len(top) == 3 for top in best[1:])


def test_completions_stream(client: openai.OpenAI) -> None:
    settings: Any = {"model": MODEL, "prompt": "One, two,", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(logprobs=2, **settings).choices[0]
    pieces = [p.choices[0] for p in client.completions.create(logprobs=2, stream=True, **settings)]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert whole.logprobs is not None
    offsets = [o for p in pieces if p.logprobs for o in p.logprobs.text_offset or []]
    assert offsets == whole.logprobs.text_offset


def test_wrong_requests_raise_the_clients_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        chat(client, top_logprobs=3)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        chat(client, temperature=-1, stream=True)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="another", prompt="a")
