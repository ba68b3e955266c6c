"""One HTTP call to a real server on loopback, and trying again what may pass."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest

from dln_core.errors import (
    AuthenticationError,
    ContextLengthError,
    LLMError,
    ParameterError,
    RequestError,
    ScoringError,
    TransientError,
)
from dln_core.llm import retry
from dln_core.llm.base import GenerateRequest, RequestList
from dln_core.llm.capabilities import Route
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.retry import Retry
from dln_core.types import Message, Usage
from tests.core.llm.toys import GENERATE, QUESTION, SCORE, FixedWorld, endpoint_config
from tests.faults import (
    CUT_BODY,
    HALF_JSON,
    NO_CHOICES,
    RESET,
    TOO_LONG,
    Fault,
    failed,
)
from tests.servers import NEVER, OpenAIServer, serve

PLANTED_KEY = "sk-planted-0123456789"
TRANSIENT = {
    "500": failed(500),
    "503": failed(503),
    "408": failed(408),
    "429": failed(429),
    "429 with Retry-After": failed(429, Retry_After="0.01"),
    "429 with a date": failed(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "reset": RESET,
    "cut body": CUT_BODY,
    "half a JSON": HALF_JSON,
    "no choices": NO_CHOICES,
    "an HTML page": Fault(200, "<html>bad gateway</html>"),
}

FLAGGED = {"code": 403, "message": "The model requires moderation, and your input was flagged"}
# An error in an answer with status 200.
WITHIN = {
    "a flagged text": ({"error": FLAGGED}, RequestError),
    "a refused request": ({"error": {"code": 400, "message": "no"}}, RequestError),
    "a long request": ({"error": {"code": 400, "message": "prompt too long"}}, ContextLengthError),
    "log-probs": (
        {"error": {"code": 403, "message": "not allowed to request logprobs from this model"}},
        ParameterError,
    ),
    "a refused key": ({"error": {"code": 401, "message": "no"}}, AuthenticationError),
    "a spent key": ({"error": {"code": 403, "message": "Key limit exceeded"}}, AuthenticationError),
    "no credit": ({"error": {"code": 402, "message": "Insufficient credits"}}, LLMError),
    "a refused prompt": (
        {"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}},
        RequestError,
    ),
}
PASSING_WITHIN = {
    "429": {"error": {"code": 429, "message": "slow down"}},
    "502": {"error": {"code": 502, "message": "provider disconnected"}},
    "a rate by its name": {"status": "failed", "error": {"code": "rate_limit_exceeded"}},
    "an unknown name": {"status": "failed", "error": {"code": "server_error", "message": "down"}},
    "no code": {"error": {"message": "down"}},
    "a code that is no status": {"error": {"code": 7, "message": "down"}},
    "a word": {"error": "down"},
}


TOO_LONG_WORDINGS = {
    "OpenAI": (400, "Please reduce the length of the messages. context_length_exceeded"),
    "vLLM": (400, "This model's maximum context length is 4096 tokens. However, you requested 5"),
    "vLLM's engine": (400, "The decoder prompt (length 9) is longer than the maximum model length"),
    "vLLM's engine by 500": (500, "The prompt is longer than the maximum model length of 8."),
    "SGLang": (400, "The input (9 tokens) is longer than the model's context length (8 tokens)."),
    "llama.cpp": (400, "request (9 tokens) exceeds the available context size (8 tokens)"),
    "older llama.cpp": (500, "the request exceeds the available context size. try increasing it"),
    "llama-cpp-python": (500, "Requested tokens (9) exceed context window of 8"),
    "Ollama": (400, "the input length exceeds the context length"),
    "Ollama's cut": (400, "prompt too long; exceeded max context length by 3 tokens"),
    "TGI": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8."),
    "Anthropic": (400, "prompt is too long: 9 tokens > 8 maximum"),
    "Gemini": (400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
}
NOT_TOO_LONG = {
    "a rate": (429, "Request too large: limit 8 tokens per minute, context length 9."),
    "memory that is shared": (500, "Context size has been exceeded."),
    "an outage": (503, "try later"),
}


OTHER = (Message("user", "Name another city of Japan."),)


@asynccontextmanager
async def endpoint(
    server: OpenAIServer, *, api: str = "chat", rung: str | None = "score", **settings: Any
) -> AsyncIterator[Endpoint]:
    config = replace(endpoint_config(server.base_url), **settings)
    async with open_session(config) as session:
        yield Endpoint(config, session, Route(api, rung))


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_transient_fault_passes_and_leaves_the_answer_as_it_was(server, fault):
    async with endpoint(server) as model:
        undisturbed = await model.send(GENERATE)
        server.fail_first(fault, fault)
        assert await Retry(model, 3).send(GENERATE) == undisturbed
    assert server.num_requests == 1 + 3


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_without_retry_a_transient_fault_says_so(server, fault):
    server.fail_first(fault)
    async with endpoint(server) as model:
        with pytest.raises(TransientError):
            await model.send(GENERATE)
    assert server.num_requests == 1


async def test_attempts_are_bounded_and_the_error_says_how_many_there_were(server):
    server.fail_first(*[failed(503, "overloaded")] * 9)
    async with endpoint(server) as model:
        with pytest.raises(LLMError, match=r"503: overloaded.*gave up after 4 attempts") as caught:
            await Retry(model, 4).send(GENERATE)
    assert not isinstance(caught.value, TransientError)
    assert server.num_requests == 4


async def test_one_attempt_means_no_second_one(server):
    server.fail_first(RESET)
    async with endpoint(server) as model:
        with pytest.raises(LLMError, match="after 1 attempts"):
            await Retry(model, 1).send(GENERATE)
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (failed(400, "this text is not taken"), RequestError),
        (failed(413, "the body is too large"), RequestError),
        (failed(422, "the input cannot be read"), RequestError),
        (failed(400, "seed is not supported"), ParameterError),
        (failed(404, "no such model"), LLMError),
        (failed(501, "this route is not implemented"), LLMError),
        (TOO_LONG, ContextLengthError),
        (failed(403, "not for you"), AuthenticationError),
    ],
)
async def test_a_lasting_failure_is_not_tried_again(server, fault, kind):
    server.fail_first(fault)
    async with endpoint(server) as model:
        with pytest.raises(kind) as caught:
            await Retry(model, 5).send(GENERATE)
    assert type(caught.value) is kind
    assert server.num_requests == 1


@pytest.mark.parametrize(("body", "kind"), WITHIN.values(), ids=WITHIN)
async def test_an_error_inside_an_answer_is_what_its_code_says(server, body, kind):
    server.fail_first(Fault(200, json.dumps({"choices": []} | body)))
    async with endpoint(server) as model:
        with pytest.raises(kind) as caught:
            await Retry(model, 5).send(GENERATE)
    assert type(caught.value) is kind
    assert server.num_requests == 1


@pytest.mark.parametrize("body", PASSING_WITHIN.values(), ids=PASSING_WITHIN)
async def test_an_error_inside_an_answer_that_may_pass_is_tried_again(server, body):
    server.fail_first(*[Fault(200, json.dumps({"choices": []} | body))] * 2)
    async with endpoint(server) as model:
        assert (await Retry(model, 3).send(GENERATE)).choices[0].text == "Tokyo"
    assert server.num_requests == 3


@pytest.mark.parametrize("body", [PASSING_WITHIN["429"], PASSING_WITHIN["a rate by its name"]])
async def test_too_much_to_do_inside_an_answer_is_an_overload(server, body):
    server.fail_first(Fault(200, json.dumps({"choices": []} | body)))
    async with endpoint(server) as model:
        with pytest.raises(TransientError) as caught:
            await model.send(GENERATE)
    assert caught.value.is_overload


async def test_an_answer_with_a_text_is_taken_whatever_error_stands_beside_it(server):
    body = {"choices": [{"message": {"content": "Kyoto"}}], "error": FLAGGED}
    server.fail_first(Fault(200, json.dumps({"choices": []} | body)))
    async with endpoint(server) as model:
        assert (await model.send(GENERATE)).choices[0].text == "Kyoto"


async def test_an_error_inside_an_answer_that_repeats_the_key_does_not_leak_it(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    body = {"error": {"code": 401, "message": f"no such key: {PLANTED_KEY}"}}
    server.fail_first(Fault(200, json.dumps({"choices": []} | body)))
    async with endpoint(server) as model:
        with pytest.raises(AuthenticationError, match="no such key") as caught:
            await model.send(GENERATE)
    assert PLANTED_KEY not in repr(caught.value)


@pytest.mark.parametrize(("status", "said"), TOO_LONG_WORDINGS.values(), ids=TOO_LONG_WORDINGS)
async def test_a_request_that_is_too_long_is_told_from_other_failures(server, status, said):
    server.fail_first(failed(status, said))
    async with endpoint(server) as model:
        with pytest.raises(ContextLengthError):
            await Retry(model, 5).send(GENERATE)
    assert server.num_requests == 1


async def test_a_bare_code_is_enough_to_know_a_request_that_is_too_long(server):
    server.fail_first(Fault(400, '{"error": {"code": "context_length_exceeded"}}'))
    async with endpoint(server) as model:
        with pytest.raises(ContextLengthError):
            await model.send(GENERATE)


@pytest.mark.parametrize(("status", "said"), NOT_TOO_LONG.values(), ids=NOT_TOO_LONG)
async def test_what_may_pass_is_not_taken_for_a_request_that_is_too_long(server, status, said):
    server.fail_first(failed(status, said))
    async with endpoint(server) as model:
        with pytest.raises(TransientError):
            await model.send(GENERATE)


@pytest.mark.parametrize("status", [401, 400, 404, 503])
@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [
        ("openai_compatible", "Authorization", f"Bearer {PLANTED_KEY}"),
        ("azure", "api-key", PLANTED_KEY),
        ("anthropic", "x-api-key", PLANTED_KEY),
    ],
)
async def test_the_key_is_sent_but_appears_in_no_error(
    monkeypatch, status, provider, header, value
):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    refusal = failed(status, f"Incorrect API key provided: {PLANTED_KEY}")
    async with (
        serve(FixedWorld(), faults=[refusal]) as server,
        endpoint(server, provider=provider) as model,
    ):
        with pytest.raises(LLMError) as caught:
            await Retry(model, 1).send(GENERATE)
        assert PLANTED_KEY not in repr(vars(model))
    assert server.seen[0].headers[header] == value
    assert "Incorrect API key provided" in str(caught.value)
    assert PLANTED_KEY not in repr(caught.value)


@pytest.mark.parametrize("body", ["{Bearer %s", '{"error": "Bearer %s"}', '{"choices": ["%s"]}'])
async def test_a_broken_body_that_repeats_the_key_does_not_leak_it(monkeypatch, server, body):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    server.fail_first(Fault(200, body % PLANTED_KEY))
    async with endpoint(server) as model:
        with pytest.raises(TransientError) as caught:
            await model.send(GENERATE)
    assert PLANTED_KEY not in repr(caught.value)


@pytest.mark.parametrize("key", ["Tokyo", "o", "content", '"'])
async def test_a_key_that_is_a_plain_word_leaves_answers_as_they_are(monkeypatch, server, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    async with endpoint(server) as model:
        assert (await model.send(GENERATE)).choices[0].text == "Tokyo"


@pytest.mark.parametrize("word", ["x", "none", "EMPTY"])
async def test_a_word_that_stands_for_no_key_leaves_refusals_as_they_are(monkeypatch, server, word):
    monkeypatch.setenv("OPENAI_API_KEY", word)
    server.fail_first(failed(400, "'max_tokens' is not supported: none, x, EMPTY"))
    async with endpoint(server) as model:
        with pytest.raises(ParameterError, match=r"none, x, EMPTY.*llm.omit=\[max_tokens\]"):
            await model.send(GENERATE)


async def test_a_redirection_is_not_followed_for_the_key_would_go_along(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    async with serve(FixedWorld()) as elsewhere, endpoint(server, provider="azure") as model:
        address = f"{elsewhere.base_url}/chat/completions"
        server.fail_first(Fault(307, "moved", {"Location": address}))
        with pytest.raises(LLMError, match=f"redirects to {address}"):
            await Retry(model, 3).send(GENERATE)
    assert (server.num_requests, elsewhere.num_requests) == (1, 0)


async def test_a_wrong_key_fails_at_once_and_names_the_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED_KEY)
    async with serve(FixedWorld(), required_key="another") as server, endpoint(server) as model:
        with pytest.raises(AuthenticationError, match="variable OPENAI_API_KEY") as caught:
            await Retry(model, 5).send(SCORE)
    assert PLANTED_KEY not in repr(caught.value)
    assert server.num_requests == 1


async def test_a_key_read_with_its_line_end_still_opens(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{PLANTED_KEY}\n")
    async with serve(FixedWorld(), required_key=PLANTED_KEY) as server, endpoint(server) as model:
        assert (await model.send(GENERATE)).choices[0].text == "Tokyo"


async def test_without_a_key_no_authorization_is_sent(monkeypatch, server):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with endpoint(server) as model:
        await model.send(GENERATE)
    assert "Authorization" not in server.seen[0].headers


async def test_what_the_endpoint_asks_to_wait_is_waited(server):
    # The exponential waits of this test are at most 40 ms.
    server.fail_first(failed(429, Retry_After="0.3"), failed(503, Retry_After="0.3"))
    async with endpoint(server) as model:
        await Retry(model, 3).send(GENERATE)
    arrivals = [seen.at for seen in server.seen]
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(arrivals))
    assert len(arrivals) == 3


async def test_an_endless_retry_after_is_cut(server, monkeypatch):
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.01)
    server.fail_first(failed(429, Retry_After="86400"))
    async with endpoint(server) as model:
        with anyio.fail_after(60):
            assert (await Retry(model, 2).send(GENERATE)).choices[0].text == "Tokyo"


async def test_a_refused_connection_is_transient_and_names_the_address():
    async with serve(FixedWorld()) as server:
        gone = server.base_url
    config = endpoint_config(gone)
    async with open_session(config) as session:
        model = Endpoint(config, session, Route("chat", None))
        with pytest.raises(TransientError, match=rf"{gone}/\S+ \(Connection refused\)$"):
            await model.send(GENERATE)


async def test_a_server_that_is_too_slow_is_a_transient_failure():
    async with serve(FixedWorld(), hold_until=NEVER) as server:
        config = endpoint_config(server.base_url)
        config.timeout_s = 0.1
        async with open_session(config) as session:
            with pytest.raises(TransientError, match="TimeoutError"):
                await Endpoint(config, session, Route("chat", None)).send(GENERATE)


async def test_a_cancelled_request_leaves_neither_request_nor_connection():
    async with serve(FixedWorld(), hold_until=NEVER) as server, AsyncExitStack() as stack:
        model = await stack.enter_async_context(endpoint(server))
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(model.send, GENERATE)
                await server.until(lambda: server.in_flight == 5)
                group.cancel_scope.cancel()
            await server.until(lambda: server.in_flight == server.num_connections == 0)
    assert server.num_requests == 5


async def test_connections_are_used_again(server):
    async with endpoint(server) as model:
        for seed in range(5):
            await model.send(GenerateRequest(messages=QUESTION, max_tokens=4, seed=seed))
        assert server.num_connections == 1


async def test_a_model_opened_without_a_rung_generates_but_refuses_to_score(server):
    async with endpoint(server, rung=None) as model:
        await model.send(GENERATE)
        with pytest.raises(ScoringError, match="without a way to score"):
            await model.send(SCORE)
    assert server.num_requests == 1


async def test_a_model_that_is_only_sampled_says_that_it_gives_no_log_probs(server):
    async with endpoint(server, rung="monte_carlo") as model:
        with pytest.raises(ScoringError, match="gives no log-probs"):
            await model.send(SCORE)
    assert server.num_requests == 0


async def test_usage_is_what_the_server_counted(server):
    async with endpoint(server) as model:
        response = await model.send(GENERATE)
    assert response.paid
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (5, 1)


async def test_a_list_of_scorings_is_one_call_and_gets_what_each_gets_alone(server):
    requests = (SCORE, replace(SCORE, messages=OTHER, targets=("Tokyo", "Osaka Bay", "Oslo")))
    async with endpoint(server, api="completions", rung="echo") as model:
        alone = [await model.send(request) for request in requests]
        together = await model.send(RequestList(requests))
    assert server.num_requests == 2 + 1
    assert list(together.parts) == alone
    assert sum((part.usage for part in together.parts), Usage()) == together.usage


async def test_a_list_that_the_endpoint_refuses_is_refused_as_a_whole(server):
    server.fail_first(failed(400, "prompt must be a string"))
    async with endpoint(server, api="completions", rung="echo") as model:
        with pytest.raises(RequestError, match="prompt must be a string"):
            await model.send(RequestList((SCORE, SCORE)))
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("api", "rung"),
    [
        ("chat", "prompt_logprobs"),
        ("completions", "score"),
        ("completions", None),
    ],
)
async def test_a_list_where_there_are_none_is_refused_without_a_call(server, api, rung):
    async with endpoint(server, api=api, rung=rung) as model:
        with pytest.raises(RequestError, match="send each alone"):
            await model.send(RequestList((SCORE, SCORE)))
    assert server.num_requests == 0


@pytest.mark.parametrize("fault", [failed(429, Retry_After="7"), failed(503), failed(500)])
async def test_a_transient_failure_tells_the_wait_and_whether_there_was_too_much_to_do(
    server, fault
):
    server.fail_first(fault)
    async with endpoint(server) as model:
        with pytest.raises(TransientError) as caught:
            await model.send(GENERATE)
    assert caught.value.retry_after_s == (7 if fault.status == 429 else None)
    assert caught.value.is_overload == (fault.status != 500)
