"""The simulated model behind HTTP: what its routes answer, and in which shapes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.llm.base import GenerateRequest, ScoreRequest
from dln_core.llm.simulated import InContextReader, SimulatedModel
from dln_core.llm.simulated.words import split_words
from tests.core.llm.simulated_client import ASKED, PROMPT, VERSION, running
from tests.core.llm.toys import CITIES, QUESTION, FixedWorld


def summed(tokens, logprobs, start):
    """Log-prob of what stands from a token on."""
    return "".join(tokens[start:]).strip(), sum(logprobs[start:])


async def test_chat_says_what_the_model_in_the_process_says():
    async with running(InContextReader()) as (_, client):
        for seed in range(10):
            request = GenerateRequest(messages=QUESTION, max_tokens=60, temperature=1.0, seed=seed)
            expected = await SimulatedModel(InContextReader()).send(request)
            body = await client.post(
                "/v1/chat/completions", messages=ASKED, max_tokens=60, temperature=1.0, seed=seed
            )
            assert body["choices"][0]["message"]["content"] == expected.choices[0].text
            assert body["usage"]["prompt_tokens"] == expected.usage.prompt_tokens
            assert body["usage"]["completion_tokens"] == expected.usage.completion_tokens


@pytest.mark.parametrize("target", [*CITIES, "Oslo", "Oslo or Bergen", "Tokyo Bay"])
async def test_all_ways_of_scoring_agree_with_the_model_in_the_process(target):
    request = ScoreRequest(messages=QUESTION, targets=(target,))
    expected = (await SimulatedModel(FixedWorld()).send(request)).choices[0]
    async with running() as (_, client):
        score = await client.post("/v1/score", messages=ASKED, targets=[target])
        assert score["scores"][0]["token_logprobs"] == list(expected.token_logprobs)
        echoed = await client.post(
            "/v1/completions", prompt=f"{PROMPT} {target}", echo=True, logprobs=1, max_tokens=0
        )
        turns = [*ASKED, {"role": "assistant", "content": target}]
        template = {"continue_final_message": True, "add_generation_prompt": False}
        read = await client.post(
            "/v1/chat/completions", messages=turns, prompt_logprobs=1, max_tokens=1, **template
        )
        context = await client.post("/tokenize", messages=ASKED)
        whole = await client.post("/tokenize", messages=turns, return_token_strs=True, **template)
    logprobs = echoed["choices"][0]["logprobs"]
    start = logprobs["text_offset"].index(len(PROMPT))
    assert summed(logprobs["tokens"], logprobs["token_logprobs"], start) == (
        target,
        pytest.approx(expected.logprob),
    )
    assert whole["tokens"][: context["count"]] == context["tokens"]
    own = zip(whole["tokens"][1:], read["prompt_logprobs"][1:], strict=True)
    values = [None, *(entries[str(token)]["logprob"] for token, entries in own)]
    assert summed(whole["token_strs"], values, context["count"]) == (
        target,
        pytest.approx(expected.logprob),
    )


@given(st.text(max_size=60))
def test_words_join_to_the_text_that_they_were_cut_from(text):
    assert "".join(split_words(text)) == text


async def test_an_echo_tells_every_words_place_in_the_joined_text():
    async with running() as (_, client):
        body = await client.post(
            "/v1/completions", prompt=[f"{PROMPT} Kyoto", PROMPT], echo=True, logprobs=1,
            max_tokens=1, temperature=0,
        )  # fmt: skip
    for choice in body["choices"]:
        logprobs = choice["logprobs"]
        assert "".join(logprobs["tokens"]) == choice["text"]
        for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
            assert choice["text"].startswith(token, offset)
        assert logprobs["token_logprobs"][0] is None
        assert choice["text"].endswith(" Tokyo")
    assert [choice["index"] for choice in body["choices"]] == [0, 1]


async def test_next_token_log_probs_are_those_of_the_world():
    async with running() as (_, client):
        body = await client.post(
            "/v1/chat/completions", messages=ASKED, max_tokens=2, temperature=0, logprobs=True,
            top_logprobs=20,
        )  # fmt: skip
    (entry,) = body["choices"][0]["logprobs"]["content"]
    found = {top["token"]: math.exp(top["logprob"]) for top in entry["top_logprobs"]}
    assert found == pytest.approx({"Tokyo": 0.7, "Kyoto": 0.2, "Osaka": 0.1})


@pytest.mark.parametrize("route", ["completions", "chat/completions", "responses"])
async def test_the_log_probs_of_a_text_that_was_generated_add_up_to_its_own(route):
    world = FixedWorld({"Osaka": 0.2, "Osaka Bay": 0.3, "Kyoto": 0.5})
    drawn = {}
    async with running(world) as (_, client):
        for number in range(40):
            common = {"logprobs": 1} if route == "completions" else {"logprobs": True}
            if route == "responses":
                asked = {"input": PROMPT, "include": ["message.output_text.logprobs"]}
            else:
                asked = common | {"prompt": PROMPT, "messages": ASKED, "seed": number}
            body = await client.post(f"/v1/{route}", temperature=1.0, **asked)
            text, values = said_by(route, body)
            drawn[text] = math.exp(sum(values))
    assert drawn == pytest.approx(world.probabilities)


async def test_what_is_to_be_included_must_be_strings():
    async with running() as (_, client):
        refusal = await client.post("/v1/responses", input=PROMPT, include=3.5)
        assert client.status == 400
    assert "include" in refusal["error"]["message"]


def said_by(route, body):
    """The text of an answer and its log-probs."""
    if route == "responses":
        part = body["output"][0]["content"][0]
        return part["text"], [entry["logprob"] for entry in part["logprobs"]]
    choice = body["choices"][0]
    if route == "completions":
        return choice["text"].strip(), choice["logprobs"]["token_logprobs"]
    entries = choice["logprobs"]["content"]
    return choice["message"]["content"], [entry["logprob"] for entry in entries]


async def test_texts_end_at_the_bound_and_at_stop_strings():
    async with running(FixedWorld({"one two three": 1.0})) as (_, client):
        cut = await client.post("/v1/chat/completions", messages=ASKED, max_tokens=2)
        stopped = await client.post("/v1/chat/completions", messages=ASKED, stop=["two"])
    assert cut["choices"][0]["message"]["content"] == "one two"
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert stopped["choices"][0]["message"]["content"] == "one"
    assert stopped["choices"][0]["finish_reason"] == "stop"


async def test_the_choices_of_one_request_are_drawn_apart_and_so_are_requests_without_a_seed():
    async with running() as (_, client):
        several = await client.post("/v1/completions", prompt=PROMPT, n=60, seed=1)
        again = await client.post("/v1/completions", prompt=PROMPT, n=60, seed=1)
        unseeded = [await client.post("/v1/completions", prompt=PROMPT) for _ in range(60)]
    assert {choice["text"].strip() for choice in several["choices"]} == set(CITIES)
    assert several["choices"] == again["choices"]
    assert {body["choices"][0]["text"].strip() for body in unseeded} == set(CITIES)


async def test_responses_has_the_shape_of_openais():
    async with running() as (_, client):
        body = await client.post(
            "/v1/responses", input=ASKED, max_output_tokens=16, temperature=0, store=False
        )
        assert body["output"][0]["content"][0]["text"] == "Tokyo"
        assert (body["status"], body["incomplete_details"]) == ("completed", None)
        assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (5, 1)
        text = await client.post("/v1/responses", input=PROMPT, temperature=0)
        assert text["output"] == [body["output"][0] | {"id": text["output"][0]["id"]}]
        for wrong in ({"seed": 1}, {"max_output_tokens": 4}, {"stop": ["x"]}):
            refusal = await client.post("/v1/responses", input=PROMPT, **wrong)
            assert client.status == 400
            assert next(iter(wrong)) in refusal["error"]["message"]


async def test_messages_has_the_shape_of_anthropics():
    async with running() as (_, client):
        asked = {"messages": ASKED, "max_tokens": 8, "temperature": 0}
        body = await client.post("/v1/messages", VERSION, system="Be brief.", **asked)
        assert (body["type"], body["role"], body["stop_reason"]) == (
            *("message", "assistant"),
            "end_turn",
        )
        assert body["content"] == [{"type": "text", "text": "Tokyo"}]
        assert body["usage"] == {"input_tokens": 7, "output_tokens": 1}
        for headers, wrong in (({}, asked), (VERSION, asked | {"seed": 1})):
            refusal = await client.post("/v1/messages", headers, **wrong)
            assert (client.status, refusal["type"]) == (400, "error")
            assert refusal["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {}),
        ("/v1/completions", {"prompt": []}),
        ("/v1/completions", {"prompt": [1, 2]}),
        ("/v1/completions", {"prompt": "x", "max_tokens": -1}),
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/chat/completions", {"messages": ASKED, "stream": True}),
        ("/v1/chat/completions", {"messages": ASKED, "top_logprobs": 21, "logprobs": True}),
        ("/v1/chat/completions", {"messages": ASKED, "continue_final_message": True}),
        ("/v1/score", {"messages": ASKED}),
        ("/v1/score", {"targets": ["x"]}),
    ],
)
async def test_a_wrong_request_is_refused_in_openais_shape(path, body):
    async with running() as (_, client):
        refusal = await client.post(path, **body)
    assert client.status == 400
    assert refusal["error"]["type"] == "invalid_request_error"
