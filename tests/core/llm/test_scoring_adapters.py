"""How texts are scored on each rung of the ladder."""

from __future__ import annotations

import math
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError, TransientError
from dln_core.llm.adapters import Call, echo, label, prompt_logprobs, score
from dln_core.llm.adapters.texts import as_text
from dln_core.llm.base import Choice, ScoreRequest
from dln_core.types import Message, Usage

CONFIG = LLMConfig(provider="simulated", model="toy")
ASKED = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", "3+3?"))
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


def echoed(tokens: list[str], values: list[float | None], index: int = 0) -> dict[str, Any]:
    offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    logprobs = {"tokens": tokens, "text_offset": offsets, "token_logprobs": values}
    return {"index": index, "text": "".join(tokens), "logprobs": logprobs}


def read_echo(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    (part,) = echo.read((request,), body).parts
    return part.choices


def next_tokens(top: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}


def labels(*targets: str) -> ScoreRequest:
    return ScoreRequest(messages=ASKED, targets=targets)


def test_the_scoring_route_gets_messages_or_a_text_and_spaced_targets():
    chat = score.write(CONFIG, "chat", labels("6", "7"))
    text = score.write(CONFIG, "completions", labels("6", "7"))
    assert chat.body["targets"] == ["6", "7"]
    assert text.body["prompt"] + text.body["targets"][0] == "2+2? 4\n\n3+3? 6"


def test_scores_keep_the_order_of_the_targets():
    body = {"scores": [{"token_logprobs": [-1.0, -2.0]}, {"token_logprobs": [-0.5]}]}
    first, second = score.read(labels("6", "7"), body)
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
        score.read(labels("6", "7"), {"scores": [{"token_logprobs": r} for r in rows]})


def test_a_log_prob_a_rounding_error_above_zero_is_zero():
    (choice,) = score.read(labels("6"), {"scores": [{"token_logprobs": [1e-5]}]})
    assert choice.token_logprobs == (0.0,)


def test_an_echo_is_cut_to_the_target_and_loses_the_surplus_token():
    tokens = ["2+2?", " 4", "\n\n", "3+3", "?", " s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -9, -9, -9, -9, -1.0, -2.0, -9])]}
    (choice,) = read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_token_that_straddles_the_boundary_belongs_to_the_target():
    tokens = ["2+2? 4\n\n3+3", "? s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -1.0, -2.0, -9])]}
    (choice,) = read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_beginning_of_text_token_that_is_counted_in_the_offsets_does_not_shift_the_boundary():
    tokens = ["<|begin_of_text|>", "2+2? 4\n\n3+3?", " s", "ix", " because"]
    body = {"choices": [echoed(tokens, [None, -9, -1.0, -2.0, -9])]}
    (choice,) = read_echo(labels("six"), body)
    assert choice.token_logprobs == (-1.0, -2.0)


def test_a_beginning_of_text_token_outside_the_offsets_does_not_shift_the_boundary():
    entry = echoed(["2+2? 4\n\n3+3?", " s", "ix", " because"], [-9, -1.0, -2.0, -9])
    logprobs = entry["logprobs"]
    logprobs["tokens"].insert(0, "<s>")
    logprobs["text_offset"].insert(0, 0)
    logprobs["token_logprobs"].insert(0, None)
    (choice,) = read_echo(labels("six"), {"choices": [entry]})
    assert choice.token_logprobs == (-1.0, -2.0)


def test_the_choices_of_a_list_are_ordered_by_their_index():
    context = as_text(ASKED)
    choices = [
        echoed([context, " 7", "."], [None, -7.0, -9], index=1),
        echoed([context, " 6", "."], [None, -6.0, -9], index=0),
    ]
    first, second = read_echo(labels("6", "7"), {"choices": choices})
    assert (first.text, first.logprob, second.text, second.logprob) == ("6", -6.0, "7", -7.0)


@pytest.mark.parametrize(
    "choices",
    [
        [{"index": 0, "text": "3+3? 6", "logprobs": None}],
        [echoed(["2+2? 4\n\n3+3?", " 6"], [None, None])],
        [echoed(["2+2? 4\n\n3+3?"], [None])],
        [{"logprobs": {"tokens": [], "text_offset": [], "token_logprobs": []}}],
    ],
)
def test_an_echo_without_the_targets_log_probs_is_refused(choices):
    with pytest.raises(ScoringError):
        read_echo(labels("6"), {"choices": choices})


@st.composite
def echoes(draw: st.DrawFn) -> tuple[ScoreRequest, dict[str, Any], list[list[float]]]:
    """A request, an echo of it cut into tokens anywhere, and the log-probs of each target."""
    turns = draw(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1))
    messages = tuple(Message(role, text) for role, text in turns)
    targets = tuple(draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=3)))
    context = as_text(messages)
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
def test_an_echo_gives_exactly_the_targets_tokens_whatever_the_texts_and_tokens(asked):
    request, body, expected = asked
    choices = read_echo(request, body)
    assert [list(choice.token_logprobs) for choice in choices] == expected
    assert [choice.text for choice in choices] == list(request.targets)


@pytest.mark.parametrize("begins", [True, False], ids=["with a beginning", "without"])
@pytest.mark.parametrize(
    ("asked", "target", "tokens", "expected"),
    [
        ("Is 😀 good?", "Yes", ["Is", " �", "��", " good", "?", " Yes", "."], [5]),
        (
            "Is 😀 good?",
            "No, 🦀!",
            ["Is 😀 good?", " No", ",", " �", "�", "!", " x"],
            [1, 2, 3, 4, 5],
        ),
        ("龘龘 是", "龘", ["�", "��", "��", "�", " 是", " ", "�", "�", "."], [5, 6, 7]),
        ("a � b", "c", ["a", " �", " b", " c", "\n"], [3]),
        ("a 😀", "b", ["a", " �", "�", " b", "�"], [3]),
        ("a😀😀b", "c d", ["a�", "��", "�", "b c", " d", ""], [3, 4]),
        # Newer servers show such a character by its last token alone.
        ("a", "😀 b", ["a", "", "", " 😀", " b", ""], [1, 2, 3, 4]),
        # Spaces are not shown, or by a sign.
        ("Is it?", "No way", ["Is", "it", "?", "No", "way", "."], [3, 4]),
        ("Is it?", "No way", ["Is", "▁it", "?", "▁No", "▁way", "▁."], [3, 4]),
        ("Is\n\nit?", "No way", ["Is", "ĊĊ", "it", "?", "ĠNo", "Ġway", "Ċ"], [4, 5]),
        ("Is it?", "🦀 way", ["Is", "it", "?", "▁", "�", "��", "way", "�"], [3, 4, 5, 6]),
    ],
)
def test_characters_of_several_tokens_do_not_shift_the_boundary(
    begins, asked, target, tokens, expected
):
    tokens, shift = (["<s>", *tokens], 1) if begins else (tokens, 0)
    body = {"choices": [echoed(tokens, [None, *(-float(i) for i in range(1, len(tokens)))])]}
    request = ScoreRequest(messages=(Message("user", asked),), targets=(target,))
    (choice,) = read_echo(request, body)
    assert choice.token_logprobs == tuple(-float(i + shift) for i in expected)


def test_tokens_that_are_written_otherwise_than_the_prompt_stand_where_the_server_says():
    tokens = ["2+2?", "Ġ4", "ĊĊ", "bytes:\\x33\\x2b\\x33", "?", "Ġs", "ix", "Ġbecause"]
    entry = echoed(tokens, [None, -9, -9, -9, -9, -1.0, -2.0, -9])
    entry["logprobs"]["text_offset"] = [0, 4, 6, 8, 11, 12, 14, 16]
    (choice,) = read_echo(labels("six"), {"choices": [entry]})
    assert choice.token_logprobs == (-1.0, -2.0)


def counted(entries: list[dict[str, Any]], beginnings: int) -> dict[str, Any]:
    """The answer of a server that counts prompts, a beginning of each and the generated tokens."""
    num_tokens = sum(len(entry["logprobs"]["tokens"]) - 1 + beginnings for entry in entries)
    choices = [entry | {"index": place} for place, entry in enumerate(entries)]
    usage = {"prompt_tokens": num_tokens, "completion_tokens": len(entries)}
    return {"choices": choices, "usage": usage}


@pytest.mark.parametrize("beginnings", [0, 1])
@given(asked=st.lists(echoes(), min_size=1, max_size=4))
def test_what_an_echoed_target_counts_does_not_depend_on_its_company(beginnings, asked):
    requests = [request for request, _, _ in asked]
    entries = [body["choices"] for _, body, _ in asked]
    together = echo.read(requests, counted([*chain.from_iterable(entries)], beginnings))
    alone = [
        echo.read([request], counted(own, beginnings)).parts[0]
        for request, own in zip(requests, entries, strict=True)
    ]
    assert list(together.parts) == alone
    for request, own, answer in zip(requests, entries, alone, strict=True):
        for target, entry, part in zip(request.targets, own, answer.parts, strict=True):
            one = ScoreRequest(messages=request.messages, targets=(target,))
            assert echo.read([one], counted([entry], beginnings)).parts[0].usage == part.usage


def test_a_label_has_the_probability_of_all_spellings_of_its_first_token():
    top = [
        {"token": "Yes", "logprob": math.log(0.5)},
        {"token": " Yes", "logprob": math.log(0.2)},
        {"token": "No", "logprob": math.log(0.1)},
        {"token": " the", "logprob": math.log(0.05)},
    ]
    yes, no = label.read(labels("Yes", "No"), next_tokens(top))
    assert yes.logprob == pytest.approx(math.log(0.7))
    assert no.logprob == pytest.approx(math.log(0.1))


def test_an_unseen_label_gets_the_least_seen_log_prob():
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "the", "logprob": -4.0}]
    _, no = label.read(labels("Yes", "No"), next_tokens(top))
    assert no.logprob == -4.0


def test_labels_that_begin_with_the_same_token_are_refused_by_name():
    top = [{"token": "(", "logprob": -0.1}, {"token": "Yes", "logprob": -3.0}]
    with pytest.raises(ScoringError, match=r"\(A\) and \(B\) begin with the same token"):
        label.read(labels("(A)", "(B)"), next_tokens(top))


@pytest.mark.parametrize("top", [None, [], [{}], [{"token": "Yes", "logprob": None}], "no"])
def test_an_answer_without_next_token_log_probs_is_refused(top):
    with pytest.raises(ScoringError):
        label.read(labels("Yes", "No"), next_tokens(top))


@pytest.mark.parametrize("write", [echo.write, label.write, prompt_logprobs.write])
def test_parameters_that_an_endpoint_refuses_are_left_out_and_extra_ones_sent(write):
    config = LLMConfig(provider="simulated", omit=["temperature"], extra={"top_k": 1})
    asked = (labels("6"),) if write is echo.write else labels("6")
    call = write(config, asked, "6") if write is prompt_logprobs.write else write(config, asked)
    assert "temperature" not in call.body
    assert call.body["top_k"] == 1


def test_an_echo_of_several_requests_is_one_call_divided_by_its_tokens():
    first, second = labels("6", "7"), ScoreRequest(messages=ASKED[:1], targets=("4",))
    call = echo.write(CONFIG, (first, second))
    context = as_text(ASKED)
    assert call.body["prompt"] == [f"{context} 6", f"{context} 7", "2+2? 4"]
    choices = [
        echoed(["2+2?", " 4", "."], [None, -4.0, -9], index=2),
        echoed([context, " 7", "."], [None, -7.0, -9], index=1),
        echoed(["2+2? 4", "\n\n3+3?", " 6", "."], [None, -9, -6.0, -9], index=0),
    ]
    usage = {"prompt_tokens": 20, "completion_tokens": 3}
    response = echo.read((first, second), {"choices": choices, "usage": usage})
    assert [[c.logprob for c in part.choices] for part in response.parts] == [[-6.0, -7.0], [-4.0]]
    assert [part.usage for part in response.parts] == [Usage(14, 2), Usage(6, 1)]
    assert response.usage == Usage(20, 3)


def ranked(*entries: tuple[int, str, float]) -> dict[str, Any]:
    """What vLLM says of one place: its own token, and the most probable one if it is another."""
    ranks = range(len(entries), 0, -1)
    return {
        str(token): {"logprob": value, "rank": rank, "decoded_token": text}
        for (token, text, value), rank in zip(entries, ranks, strict=True)
    }


CONTEXT = [1, 2, 3]
RENDERED = [None, ranked((2, "?", -9.0)), ranked((3, "<answer>", -9.0))]
SIX = [ranked((4, "si", -1.0), (9, "sev", -0.5)), ranked((5, "x", -2.0))]


def test_a_target_is_scored_as_the_turn_that_is_left_unfinished():
    call = prompt_logprobs.write(CONFIG, labels("six"), "six")
    assert call.path == "chat/completions"
    assert call.body["messages"][-1] == {"role": "assistant", "content": "six"}
    asked = {name: call.body[name] for name in ("add_generation_prompt", "continue_final_message")}
    assert asked == {"add_generation_prompt": False, "continue_final_message": True}


def test_the_context_is_rendered_with_the_same_template_and_nothing_else():
    template = {"chat_template_kwargs": {"enable_thinking": False}}
    config = LLMConfig(provider="simulated", model="toy", extra=template | {"top_k": 1})
    call = prompt_logprobs.write_context(config, labels("six"))
    turns = [{"role": m.role, "content": m.text} for m in ASKED]
    body = {"model": "toy", "messages": turns, "add_generation_prompt": True}
    assert call == Call("tokenize", body | template, beside_v1=True)


@pytest.mark.parametrize(
    ("context", "target", "tokens", "expected"),
    [
        (CONTEXT, "six", [*RENDERED, *SIX], (-1.0, -2.0)),
        # The order of a place's two tokens is not relied on.
        (CONTEXT, "six", [*RENDERED, dict(reversed(SIX[0].items())), SIX[1]], (-1.0, -2.0)),
        (
            *(CONTEXT, "naïve 🎲!"),
            [*RENDERED, ranked((6, "na\ufffd", -1.0)), ranked((7, "ve \ufffd\ufffd!", -2.0))],
            (-1.0, -2.0),
        ),
        (
            *(CONTEXT, "a six"),
            [*RENDERED, ranked((6, "▁a", -1.0)), ranked((7, "six", -2.0))],
            (-1.0, -2.0),
        ),
        (CONTEXT, "six", [*RENDERED, ranked((6, " six", -1.0))], (-1.0,)),
        (CONTEXT, "six", [*RENDERED, ranked((6, "\n\n", -1.0)), ranked((7, "six", -2.0))], None),
        (CONTEXT, "six", [*RENDERED, ranked((6, "six", -1.0)), ranked((7, "\n", -2.0))], None),
        # Behind the context the template may go on; then it is no answer that is scored.
        ([1, 2], "six", [*RENDERED, *SIX], None),
        ([1, 2, 8], "six", [*RENDERED, *SIX], None),
        (CONTEXT, "sixty", [*RENDERED, *SIX], None),
        (CONTEXT, "ix", [*RENDERED, *SIX], None),
        (CONTEXT, "six", RENDERED, None),
    ],
)
def test_a_targets_tokens_are_those_behind_the_context_and_make_it_up_exactly(
    context, target, tokens, expected
):
    body = {"choices": [{}], "prompt_logprobs": tokens}
    if expected is None:
        with pytest.raises(ScoringError, match=r"where .* was to be scored"):
            prompt_logprobs.read(context, target, body)
    else:
        assert prompt_logprobs.read(context, target, body) == expected


@pytest.mark.parametrize(
    "logprobs",
    [None, 3, [None, None], [None, {}], [None, {"4": {"logprob": -1.0}}]],
)
def test_an_answer_without_prompt_log_probs_is_refused(logprobs):
    with pytest.raises(ScoringError, match="sent no prompt_logprobs"):
        prompt_logprobs.read(CONTEXT, "six", {"choices": [{}], "prompt_logprobs": logprobs})


READERS = {
    "score": lambda body: score.read(labels("6"), body),
    "echo": lambda body: echo.read((labels("6"),), body),
    "label": lambda body: label.read(labels("6"), body),
    "prompt_logprobs": lambda body: prompt_logprobs.read(CONTEXT, "6", body),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_empty_list_of_answers_is_a_fault_of_the_moment(read):
    with pytest.raises(TransientError, match="sent no answer"):
        read({"choices": [], "scores": []})


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("body", [{}, None, [], {"data": [{"score": 0.5}]}, {"choices": [{}]}])
def test_a_body_of_another_kind_is_no_scoring(read, body):
    with pytest.raises(ScoringError):
        read(body)


@pytest.mark.parametrize(
    "body", [{}, *({"tokens": tokens} for tokens in (None, [], ["a"], 3, {"a": 1})), None, []]
)
def test_a_context_without_tokens_is_a_fault_of_the_moment(body):
    with pytest.raises(TransientError, match="sent no tokens"):
        prompt_logprobs.read_tokens(body)
