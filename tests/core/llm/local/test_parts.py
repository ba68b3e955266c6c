"""The engine's parts that need no model: sampling, unfinished texts, reading of fields."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.llm.local.generation import settled
from dln_core.llm.local.sampling import sample
from dln_core.llm.serving import fields
from dln_core.llm.serving.fields import BadRequest


def test_samples_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    rng = np.random.default_rng(0)
    counts = np.bincount([sample(logits, 1.0, 1.0, rng) for _ in range(4000)], minlength=3)
    # Five standard errors of a share of one half.
    np.testing.assert_allclose(counts / 4000, [0.5, 0.3, 0.2], atol=5 * 0.5 / 4000**0.5)


def test_temperature_zero_is_greedy_and_a_nucleus_cuts_the_tail() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], dtype=np.float32))
    rng = np.random.default_rng(0)
    assert sample(logits, 0.0, 1.0, rng) == 1
    assert {sample(logits, 1.0, 0.7, rng) for _ in range(300)} == {1, 2}
    assert {sample(logits, 1.0, 0.0, rng) for _ in range(50)} == {1}


def test_a_nucleus_wider_than_the_first_search_is_still_exact() -> None:
    logits = np.zeros(5000, dtype=np.float32)
    rng = np.random.default_rng(0)
    drawn = {sample(logits, 1.0, 0.9, rng) for _ in range(20_000)}
    assert max(drawn) == 4499
    assert len(drawn) > 4000


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=4), max_size=2))
def test_what_is_settled_of_a_text_stays_whatever_comes(text: str, stops: list[str]) -> None:
    raw = text.encode()
    ends = [raw.find(stop.encode()) for stop in stops]
    whole = raw[: min((end for end in ends if end >= 0), default=len(raw))].decode()
    for size in range(len(raw) + 1):
        if any(stop.encode() in raw[:size] for stop in stops):
            break
        assert whole.startswith(raw[: settled(raw[:size], stops)].decode())


@pytest.mark.parametrize(
    ("raw", "stops", "expected"),
    [
        (b"", (), 0),
        (b"a stop", ("stop!",), 2),
        (b"a sto", ("stop!",), 2),
        (b"a stow", ("stop!",), 6),
        ("5 €".encode()[:-1], (), 2),
    ],
)
def test_only_what_may_go_on_is_held_back(
    raw: bytes, stops: tuple[str, ...], expected: int
) -> None:
    # The whole stop string would have ended the text; all but its last character may begin it.
    assert settled(raw, stops) == expected


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (lambda b: fields.read_integer(b, "n", 1, 1, 9), {"n": 0}),
        (lambda b: fields.read_integer(b, "n", 1, 1, 9), {"n": True}),
        (lambda b: fields.read_integer(b, "n", 1, 1, 9), {"n": 1.5}),
        (lambda b: fields.read_number(b, "temperature", 1, 0, 2), {"temperature": "hot"}),
        (lambda b: fields.read_number(b, "temperature", 1, 0, 2), {"temperature": float("nan")}),
        (lambda b: fields.read_flag(b, "echo"), {"echo": 1}),
        (lambda b: fields.read_strings(b, "stop"), {"stop": ["a", ""]}),
        (lambda b: fields.read_strings(b, "stop"), {"stop": 3}),
        (fields.read_prompts, {}),
        (fields.read_prompts, {"prompt": ""}),
        (fields.read_prompts, {"prompt": []}),
        (fields.read_prompts, {"prompt": ["a", 3]}),
        (fields.read_messages, {"messages": []}),
        (fields.read_messages, {"messages": [{"role": "robot", "content": "x"}]}),
        (fields.read_messages, {"messages": [{"role": "user"}]}),
    ],
)
def test_wrong_fields_are_refused_by_name(read: Any, body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    expected = next(iter(body), "prompt")
    assert caught.value.param == expected
    assert expected.removesuffix("s") in str(caught.value)


def test_prompts_may_be_texts_tokens_or_lists_of_either() -> None:
    read = fields.read_prompts
    assert read({"prompt": "a"}) == ["a"]
    assert read({"prompt": [1, 2]}) == [[1, 2]]
    assert read({"prompt": ["a", "b"]}) == ["a", "b"]
    assert read({"prompt": [[1], [2, 3]]}) == [[1], [2, 3]]


def test_a_refusal_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadRequest("no", "n", "some_code", 404)))
    assert (str(error), error.param, error.code, error.status) == ("no", "n", "some_code", 404)
