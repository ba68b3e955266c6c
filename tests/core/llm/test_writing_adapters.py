"""How texts are asked for and read by each api, and how endpoints are addressed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.config import LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.adapters import GENERATIONS, Call, chat, completions, messages, responses
from dln_core.llm.adapters.providers import provider_of
from dln_core.llm.adapters.texts import as_text
from dln_core.llm.adapters.usage import divide, divide_usage, read_usage
from dln_core.llm.base import GenerateRequest
from dln_core.types import Message, Usage

CONFIG = LLMConfig(provider="simulated", model="toy")
ASKED = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", "3+3?"))
REQUEST = GenerateRequest(messages=ASKED, max_tokens=50, temperature=0.5, seed=9, stop=("\n",))


def body_of(api: str, text: str, **fields: Any) -> dict[str, Any]:
    """An answer as each api gives it."""
    blocks = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": text}]
    said = [{"type": "reasoning"}, {"type": "output_text", "text": text}]
    items = [{"type": "reasoning"}, {"type": "message", "content": said}]
    return {
        "completions": {"choices": [{"text": text}]},
        "chat": {"choices": [{"message": {"content": text}}]},
        "responses": {"status": "completed", "output": items},
        "messages": {"content": blocks, "stop_reason": "end_turn"},
    }[api] | fields


def test_a_conversation_is_written_as_one_text_with_each_answer_behind_its_question():
    assert as_text(ASKED) == "2+2? 4\n\n3+3?"


def test_a_generation_goes_out_by_the_route_of_its_api():
    written = {api: adapter.write(CONFIG, REQUEST) for api, adapter in GENERATIONS.items()}
    turns = [{"role": m.role, "content": m.text} for m in ASKED]
    openai = {"max_tokens": 50, "temperature": 0.5, "seed": 9, "stop": ["\n"]}
    assert written == {
        "completions": Call("completions", {"model": "toy", "prompt": "2+2? 4\n\n3+3?"} | openai),
        "chat": Call("chat/completions", {"model": "toy", "messages": turns} | openai),
        "responses": Call(
            "responses",
            {"model": "toy", "input": turns, "max_output_tokens": 50, "temperature": 0.5}
            | {"store": False},
        ),
        "messages": Call(
            "messages",
            {"model": "toy", "messages": turns, "max_tokens": 50, "temperature": 0.5}
            # Stop strings of spaces alone are refused there.
            | {"stop_sequences": []},
        ),
    }


@pytest.mark.parametrize("api", GENERATIONS)
def test_parameters_that_an_endpoint_refuses_are_left_out_and_extra_ones_sent(api):
    omit = ["temperature", "seed", "stop", "max_tokens", "logprobs"]
    config = LLMConfig(provider="simulated", model="toy", omit=omit, extra={"top_k": 1})
    asking = GenerateRequest(messages=ASKED, max_tokens=5, stop=("\n",), logprobs=True)
    body = GENERATIONS[api].write(config, asking).body
    assert body["top_k"] == 1
    assert set(body) - {"model", "top_k", "store"} <= {"messages", "prompt", "input"}


@pytest.mark.parametrize("api", GENERATIONS)
def test_without_stop_strings_none_are_sent(api):
    body = GENERATIONS[api].write(CONFIG, GenerateRequest(messages=ASKED, max_tokens=5)).body
    assert not {"stop", "stop_sequences"} & set(body)


def test_the_system_turn_is_a_field_of_the_messages_route():
    turns = (Message("system", "Be brief."), *ASKED)
    body = messages.write(CONFIG, GenerateRequest(messages=turns, max_tokens=5)).body
    assert body["system"] == "Be brief."
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_the_responses_route_is_never_asked_for_fewer_tokens_than_it_takes():
    body = responses.write(CONFIG, GenerateRequest(messages=ASKED, max_tokens=4)).body
    assert body["max_output_tokens"] == 16


@pytest.mark.parametrize("api", GENERATIONS)
def test_a_text_loses_its_outer_spaces_and_what_the_model_thought(api):
    choice = GENERATIONS[api].read(
        GenerateRequest(messages=ASKED, max_tokens=5), body_of(api, " six \n")
    )
    assert (choice.text, choice.token_logprobs, choice.finish_reason) == ("six", None, "stop")


@pytest.mark.parametrize("api", GENERATIONS)
def test_a_text_ends_before_a_stop_string_even_where_the_endpoint_knows_none(api):
    assert GENERATIONS[api].read(REQUEST, body_of(api, "six\nseven")).text == "six"


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("completions", {"choices": [{"text": "", "finish_reason": "length"}]}),
        ("chat", {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}),
        ("chat", {"choices": [{"message": {}, "finish_reason": "length"}]}),
        ("responses", {"output": [], "incomplete_details": {"reason": "max_output_tokens"}}),
        ("messages", {"content": [], "stop_reason": "max_tokens"}),
    ],
)
def test_a_model_that_thought_to_the_end_of_its_tokens_wrote_an_empty_text(api, fields):
    choice = GENERATIONS[api].read(REQUEST, body_of(api, "", **fields))
    assert (choice.text, choice.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("completions", {"choices": [{"finish_reason": "content_filter"}]}),
        ("completions", {"choices": [{"text": None, "finish_reason": "content_filter"}]}),
        ("chat", {"choices": [{"finish_reason": "content_filter"}]}),
        ("chat", {"choices": [{"message": None, "finish_reason": "content_filter"}]}),
        ("chat", {"choices": [{"message": {}, "finish_reason": "content_filter"}]}),
        (
            "responses",
            {
                "status": "incomplete",
                "output": None,
                "incomplete_details": {"reason": "content_filter"},
            },
        ),
    ],
)
def test_a_text_that_a_filter_took_away_is_an_empty_one(api, fields):
    choice = GENERATIONS[api].read(REQUEST, body_of(api, "", **fields))
    assert (choice.text, choice.finish_reason) == ("", "content_filter")


@pytest.mark.parametrize("reason", [None, "end_turn", "stop_sequence", "stop"])
def test_whatever_ends_a_turn_is_a_stop(reason):
    body = {"content": [{"type": "text", "text": "six"}], "stop_reason": reason}
    assert messages.read(REQUEST, body).finish_reason == "stop"


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], {"choices": []}, {"choices": [{}]}, {"choices": [7]}, None, "no"),
        *({"output": []}, {"status": "failed", "error": {"message": "down"}}),
        *({"content": []}, {"content": 3, "stop_reason": "end_turn"}),
        {"choices": [{"message": {"content": 3}}]},
    ],
)
@pytest.mark.parametrize("api", GENERATIONS)
def test_a_body_without_text_is_a_transient_failure(api, body):
    with pytest.raises(TransientError, match=r"sent no text|failed to answer"):
        GENERATIONS[api].read(REQUEST, body)


def test_log_probs_are_asked_for_only_where_they_are_wanted():
    asking = GenerateRequest(messages=ASKED, max_tokens=5, logprobs=True)
    assert "logprobs" not in chat.write(CONFIG, REQUEST).body
    assert "logprobs" not in completions.write(CONFIG, REQUEST).body
    assert chat.write(CONFIG, asking).body["logprobs"] is True
    assert completions.write(CONFIG, asking).body["logprobs"] == 1


@pytest.mark.parametrize(
    ("raw", "tokens", "expected"),
    [
        ("six", [("si", -1.0), ("x", -2.0)], (-1.0, -2.0)),
        ("six", [("six", -1.0), ("<|end|>", -0.5)], (-1.0,)),
        # Scored as a target, the text would begin otherwise.
        ("\nsix", [("\n", -1.0), ("six", -2.0)], None),
        ("six", [("Hm, ", -1.0), ("six", -2.0)], None),
        ("six", [("si", -1.0)], None),
        ("six", [("six", None)], None),
        ("six", [("six", math.nan)], None),
        ("", [], None),
    ],
)
def test_a_sampled_text_has_log_probs_where_scoring_it_would_read_the_same_tokens(
    raw, tokens, expected
):
    asking = GenerateRequest(messages=ASKED, max_tokens=5, logprobs=True)
    content = [{"token": token, "logprob": value} for token, value in tokens]
    entry = {"message": {"content": raw}, "logprobs": {"content": content}}
    assert chat.read(asking, {"choices": [entry]}).token_logprobs == expected
    # Behind a text, an answer stands after one space.
    spaced = [(f" {token}" if i == 0 else token, v) for i, (token, v) in enumerate(tokens)]
    logprobs = {"tokens": [t for t, _ in spaced], "token_logprobs": [v for _, v in spaced]}
    entry = {"text": f" {raw}", "logprobs": logprobs}
    assert completions.read(asking, {"choices": [entry]}).token_logprobs == expected


@pytest.mark.parametrize(
    "logprobs",
    [None, [], {}, {"content": None}, {"content": [{"token": "six"}]}, {"tokens": ["six"]}, [-1.0]],
)
def test_log_probs_in_another_form_are_none_and_the_text_is_read(logprobs):
    asking = GenerateRequest(messages=ASKED, max_tokens=5, logprobs=True)
    entry = {"message": {"content": "six"}, "text": "six", "logprobs": logprobs}
    for api in (chat, completions):
        choice = api.read(asking, {"choices": [entry]})
        assert (choice.text, choice.token_logprobs) == ("six", None)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_shares_add_up_to_the_whole_and_are_off_by_less_than_one(total, weights):
    shares = divide(total, weights)
    assert sum(shares) == total
    if any(weights):
        for share, weight in zip(shares, weights, strict=True):
            assert abs(share - total * weight / sum(weights)) < 1


PROMPTS = st.lists(st.integers(0, 99), min_size=1, max_size=9)


@given(st.integers(0, 999), st.integers(0, 999), PROMPTS)
def test_the_usages_of_the_prompts_add_up_to_the_calls(prompt, completion, prompts):
    parts = divide_usage(Usage(prompt, completion), prompts)
    assert sum(parts, Usage()) == Usage(prompt, completion)
    assert all(part.prompt_tokens >= 0 for part in parts)


@given(PROMPTS, st.integers(0, 3), st.integers(0, 1))
def test_what_a_prompt_counts_does_not_depend_on_those_it_is_sent_with(prompts, more, generated):
    def call(of: list[int]) -> Usage:
        return Usage(sum(of) + more * len(of), generated * len(of))

    together = divide_usage(call(prompts), prompts)
    assert together == [divide_usage(call([one]), [one])[0] for one in prompts]


def test_tokens_that_are_known_one_by_one_are_divided_exactly():
    assert divide(60, [10, 20, 30]) == [10, 20, 30]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 2)),
        ({"prompt_tokens": 7, "completion_tokens": None}, Usage(7, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}, Usage(7, 2)),
        # Some count what was thought in the total alone.
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 50}, Usage(7, 43)),
        ({"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}, Usage(7, 2)),
        (
            {"input_tokens": 7, "output_tokens": 2}
            | {"cache_creation_input_tokens": 100, "cache_read_input_tokens": 1000},
            Usage(1107, 2),
        ),
        (None, Usage()),
        ("unknown", Usage()),
        ({"prompt_tokens": "7", "completion_tokens": 2}, Usage(0, 2)),
    ],
)
def test_usage_is_what_the_endpoint_counts_and_zero_where_it_counts_nothing(usage, expected):
    assert read_usage({"usage": usage}) == expected


@pytest.mark.parametrize("body", [{}, [], None, "no"])
def test_a_body_without_counts_counts_as_nothing(body):
    assert read_usage(body) == Usage()


CALL, BESIDE = Call("chat/completions", {}), Call("tokenize", {}, beside_v1=True)


@pytest.mark.parametrize(
    ("provider", "base_url", "version", "call", "url"),
    [
        ("openai_compatible", "http://h/v1/", None, CALL, "http://h/v1/chat/completions"),
        ("openai_compatible", "http://h/a/v1", None, BESIDE, "http://h/a/tokenize"),
        ("openai_compatible", "http://h/a", None, BESIDE, "http://h/a/tokenize"),
        ("azure", "https://r.z/openai/v1", None, CALL, "https://r.z/openai/v1/chat/completions"),
        (
            *("azure", "https://r.z/openai/deployments/d", "2024-10-21", CALL),
            "https://r.z/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        ("anthropic", "https://a/v1", None, Call("messages", {}), "https://a/v1/messages"),
    ],
)
def test_a_call_goes_to_the_address_that_its_provider_has_for_it(
    provider, base_url, version, call, url
):
    config = LLMConfig(provider=provider, base_url=base_url, api_version=version)
    assert provider_of(config).url(config, call) == url


@pytest.mark.parametrize(
    ("provider", "version", "with_key", "without"),
    [
        ("openai_compatible", None, {"Authorization": "Bearer k"}, {}),
        ("azure", "2024-10-21", {"api-key": "k"}, {}),
        (
            *("anthropic", None, {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
            {"anthropic-version": "2023-06-01"},
        ),
        ("anthropic", "new", {"x-api-key": "k", "anthropic-version": "new"}, None),
    ],
)
def test_a_key_is_given_by_the_header_of_its_provider(provider, version, with_key, without):
    config = LLMConfig(provider=provider, base_url="https://h/v1", api_version=version)
    assert provider_of(config).headers(config, "k") == with_key
    if without is not None:
        assert provider_of(config).headers(config, "") == without
