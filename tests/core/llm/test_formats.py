"""Requests and answers in the shapes of the OpenAI-compatible routes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError, TransientError
from dln_core.llm import formats
from dln_core.llm.base import GenerateRequest, ScoreRequest
from dln_core.types import Message, Usage

CONFIG = LLMConfig(provider="simulated", model="toy")
ASKED = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", "3+3?"))
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


def echoed(tokens: list[str], values: list[float | None], index: int = 0) -> dict[str, Any]:
    offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    logprobs = {"tokens": tokens, "text_offset": offsets, "token_logprobs": values}
    return {"index": index, "text": "".join(tokens), "logprobs": logprobs}


def next_tokens(top: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}


def labels(*targets: str) -> ScoreRequest:
    return ScoreRequest(messages=ASKED, targets=targets)


def test_a_conversation_is_written_as_one_text_with_each_answer_behind_its_question():
    assert formats.as_text(ASKED) == "2+2? 4\n\n3+3?"


def test_a_generation_goes_out_by_the_route_of_its_api():
    request = GenerateRequest(messages=ASKED, max_tokens=5, temperature=0.5, seed=9, stop=("\n",))
    chat = formats.generation(CONFIG, "chat", request)
    text = formats.generation(CONFIG, "completions", request)
    assert (chat.path, text.path) == ("chat/completions", "completions")
    assert [turn["role"] for turn in chat.body["messages"]] == ["user", "assistant", "user"]
    assert text.body["prompt"] == "2+2? 4\n\n3+3?"
    for call in (chat, text):
        sent = {name: call.body[name] for name in ("max_tokens", "temperature", "seed", "stop")}
        assert sent == {"max_tokens": 5, "temperature": 0.5, "seed": 9, "stop": ["\n"]}


@pytest.mark.parametrize("request_", [GenerateRequest(messages=ASKED, max_tokens=5), labels("6")])
def test_parameters_that_an_endpoint_refuses_are_left_out_and_extra_ones_sent(request_):
    config = LLMConfig(
        provider="simulated", omit=["temperature", "seed", "stop"], extra={"top_k": 1}
    )
    calls = (
        [formats.generation(config, api, request_) for api in ("chat", "completions")]
        if isinstance(request_, GenerateRequest)
        else [formats.echo_call(config, request_), formats.label_call(config, request_)]
    )
    for call in calls:
        assert not {"temperature", "seed", "stop"} & set(call.body)
        assert call.body["top_k"] == 1


@pytest.mark.parametrize("body", [{}, [], {"choices": []}, {"choices": [{}]}, None, "no"])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_body_without_text_is_a_transient_failure(api, body):
    with pytest.raises(TransientError, match="sent no text"):
        formats.read_generation(api, body)


def test_a_generated_text_loses_its_outer_spaces():
    (choice,) = formats.read_generation("completions", {"choices": [{"text": " six \n"}]})
    assert (choice.text, choice.finish_reason) == ("six", "stop")


def test_a_chat_answer_without_content_is_an_empty_text():
    body = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    (choice,) = formats.read_generation("chat", body)
    assert (choice.text, choice.finish_reason) == ("", "length")


def test_the_scoring_route_gets_messages_or_a_text_and_spaced_targets():
    chat = formats.score_call(CONFIG, "chat", labels("6", "7"))
    text = formats.score_call(CONFIG, "completions", labels("6", "7"))
    assert chat.body["targets"] == ["6", "7"]
    assert text.body["prompt"] + text.body["targets"][0] == "2+2? 4\n\n3+3? 6"


def test_scores_keep_the_order_of_the_targets():
    body = {"scores": [{"token_logprobs": [-1.0, -2.0]}, {"token_logprobs": [-0.5]}]}
    first, second = formats.read_score(labels("6", "7"), body)
    assert (first.text, first.logprob, first.mean_logprob) == ("6", -3.0, -1.5)
    assert (second.text, second.token_logprobs) == ("7", (-0.5,))


@pytest.mark.parametrize(
    "rows",
    [
        [[-1.0]],
        [[-1.0], []],
        [[-1.0], [None]],
        [[-1.0], [0.5]],
        [[-1.0], [float("nan")]],
        [[-1.0], [-math.inf]],
        [[-1.0], [-1.0], [-1.0]],
    ],
)
def test_scores_that_make_no_sense_are_refused(rows):
    with pytest.raises(ScoringError):
        formats.read_score(labels("6", "7"), {"scores": [{"token_logprobs": r} for r in rows]})


def test_a_log_prob_a_rounding_error_above_zero_is_zero():
    (choice,) = formats.read_score(labels("6"), {"scores": [{"token_logprobs": [1e-5]}]})
    assert choice.token_logprobs == (0.0,)


def test_an_echo_is_cut_to_the_target_and_loses_the_surplus_token():
    tokens = ["2+2?", " 4", "\n\n", "3+3", "?", " s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -9, -9, -9, -9, -1.0, -2.0, -9])]}
    (choice,) = formats.read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_token_that_straddles_the_boundary_belongs_to_the_target():
    tokens = ["2+2? 4\n\n3+3", "? s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -1.0, -2.0, -9])]}
    (choice,) = formats.read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_beginning_of_text_token_that_is_counted_in_the_offsets_does_not_shift_the_boundary():
    tokens = ["<|begin_of_text|>", "2+2? 4\n\n3+3?", " s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -9, -1.0, -2.0, -9])]}
    (choice,) = formats.read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_beginning_of_text_token_outside_the_offsets_does_not_shift_the_boundary():
    entry = echoed(["2+2? 4\n\n3+3?", " s", "ix", " because"], [-9, -1.0, -2.0, -9])
    logprobs = entry["logprobs"]
    logprobs["tokens"].insert(0, "<s>")
    logprobs["text_offset"].insert(0, 0)
    logprobs["token_logprobs"].insert(0, None)
    (choice,) = formats.read_echo(labels("six"), {"choices": [entry]})
    assert choice.token_logprobs == (-1.0, -2.0)


def test_the_choices_of_a_list_are_ordered_by_their_index():
    context = formats.as_text(ASKED)
    choices = [
        echoed([context, " 7", "."], [None, -7.0, -9], index=1),
        echoed([context, " 6", "."], [None, -6.0, -9], index=0),
    ]
    first, second = formats.read_echo(labels("6", "7"), {"choices": choices})
    assert (first.text, first.logprob, second.text, second.logprob) == ("6", -6.0, "7", -7.0)


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [{"index": 0, "text": "3+3? 6", "logprobs": None}],
        [echoed(["2+2? 4\n\n3+3?", " 6"], [None, None])],
        [echoed(["2+2? 4\n\n3+3?"], [None])],
    ],
)
def test_an_echo_without_the_targets_log_probs_is_refused(choices):
    with pytest.raises(ScoringError):
        formats.read_echo(labels("6"), {"choices": choices})


@st.composite
def echoes(draw: st.DrawFn) -> tuple[ScoreRequest, dict[str, Any], list[list[float]]]:
    """A request, an echo of it cut into tokens anywhere, and the log-probs of each target."""
    turns = draw(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1))
    messages = tuple(Message(role, text) for role, text in turns)
    targets = tuple(draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=3)))
    context = formats.as_text(messages)
    choices, expected = [], []
    for index, target in enumerate(targets):
        text = f"{context} {target}"
        cuts = draw(st.sets(st.integers(1, len(text)), max_size=12)) | {0, len(text)}
        tokens = [text[a:b] for a, b in pairwise(sorted(cuts))]
        owner = [i for i, token in enumerate(tokens) for _ in token]
        values: list[float | None] = [-float(i + 1) for i in range(len(tokens))]
        expected.append([-float(i + 1) for i in sorted(set(owner[len(context) :]))])
        surplus = draw(TEXTS)
        choices.append(echoed([*tokens, surplus], [*values, -99.0], index))
    return ScoreRequest(messages=messages, targets=targets), {"choices": choices}, expected


@given(echoes())
def test_an_echo_gives_exactly_the_targets_tokens_whatever_the_texts_and_tokens(echo):
    request, body, expected = echo
    choices = formats.read_echo(request, body)
    assert [list(choice.token_logprobs) for choice in choices] == expected
    assert [choice.text for choice in choices] == list(request.targets)


def test_a_label_has_the_probability_of_all_spellings_of_its_first_token():
    top = [
        {"token": "Yes", "logprob": math.log(0.5)},
        {"token": " Yes", "logprob": math.log(0.2)},
        {"token": "No", "logprob": math.log(0.1)},
        {"token": " the", "logprob": math.log(0.05)},
    ]
    yes, no = formats.read_labels(labels("Yes", "No"), next_tokens(top))
    assert yes.logprob == pytest.approx(math.log(0.7))
    assert no.logprob == pytest.approx(math.log(0.1))


def test_an_unseen_label_gets_the_least_seen_log_prob():
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "the", "logprob": -4.0}]
    _, no = formats.read_labels(labels("Yes", "No"), next_tokens(top))
    assert no.logprob == -4.0


def test_labels_that_begin_with_the_same_token_are_refused_by_name():
    top = [{"token": "(", "logprob": -0.1}, {"token": "Yes", "logprob": -3.0}]
    with pytest.raises(ScoringError, match=r"\(A\) and \(B\) begin with the same token"):
        formats.read_labels(labels("(A)", "(B)"), next_tokens(top))


@pytest.mark.parametrize("top", [None, [], [{}], [{"token": "Yes", "logprob": None}], "no"])
def test_an_answer_without_next_token_log_probs_is_refused(top):
    with pytest.raises(ScoringError):
        formats.read_labels(labels("Yes", "No"), next_tokens(top))


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 2}}, Usage(7, 2)),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": None}}, Usage(7, 0)),
        ({"usage": None}, Usage()),
        ({}, Usage()),
        ([], Usage()),
    ],
)
def test_usage_is_what_the_endpoint_counts_and_zero_where_it_counts_nothing(body, usage):
    assert formats.read_usage(body) == usage
