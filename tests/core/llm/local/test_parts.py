"""The engine's parts that need no model: prefixes, sampling, batching, reading of fields."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.errors import LLMError
from dln_core.llm.local import fields
from dln_core.llm.local.batching import MicroBatcher
from dln_core.llm.local.fields import BadRequest
from dln_core.llm.local.generation import sample
from dln_core.llm.local.prefixes import (
    PrefixMemory,
    common_length,
    group_by_prefix,
    nearest_to_first,
)
from dln_core.llm.local.session import Prefix
from dln_core.llm.local.tokens import Tokens


def tokens(*values: int) -> Tokens:
    return np.array(values, dtype=np.int32)


sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=60).map(lambda v: tokens(*v)),
    min_size=1,
    max_size=12,
)


@given(sequences)
def test_groups_hold_every_sequence_once_and_share_their_prefix(given_: list[Tokens]) -> None:
    groups = group_by_prefix(given_)
    assert sorted(i for members, _ in groups for i in members) == list(range(len(given_)))
    for members, length in groups:
        for index in members:
            assert common_length(given_[members[0]], given_[index]) >= length
            assert length < len(given_[index])


def test_prompts_of_different_beginnings_make_groups_of_their_own() -> None:
    first, second = list(range(100)), [7, *range(200, 300)]
    inputs = [tokens(*prompt, i, i + 1) for i in range(5) for prompt in (first, second)]
    groups = sorted(group_by_prefix(inputs), key=lambda group: group[1])
    assert [(len(members), length) for members, length in groups] == [(5, 100), (5, 101)]


def test_the_oldest_job_comes_first_and_brings_its_neighbours() -> None:
    waiting = [tokens(1, 2, 3), tokens(9, 9), tokens(1, 2, 4), tokens(1, 5)]
    assert nearest_to_first(waiting) == [0, 2, 3, 1]


def make_prefix(*values: int) -> Prefix:
    return Prefix(tokens(*values), (np.zeros((1, 1, len(values), 4), dtype=np.float32),))


def test_the_memory_finds_the_longest_prefix_and_drops_the_least_used() -> None:
    memory = PrefixMemory(max_bytes=2 * make_prefix(1, 2, 3).num_bytes)
    memory.add(make_prefix(1, 2, 3))
    memory.add(make_prefix(4, 5, 6))
    assert memory.find(tokens(1, 2, 9))[1] == 2
    memory.add(make_prefix(7, 8, 9))
    assert memory.find(tokens(4, 5, 6)) == (None, 0)
    assert memory.find(tokens(1, 2, 3, 4))[1] == 3


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


async def test_jobs_that_arrive_together_run_together() -> None:
    batches: list[int] = []

    def run(jobs: Sequence[int]) -> list[int]:
        batches.append(len(jobs))
        return [job * 10 for job in jobs]

    batcher: MicroBatcher[int, int] = MicroBatcher(lambda jobs: list(range(len(jobs)))[:8], run)
    answers: dict[int, list[int]] = {}

    async def ask(first: int) -> None:
        answers[first] = await batcher.submit([first, first + 1])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.serve)
        async with anyio.create_task_group() as askers:
            for first in range(0, 20, 2):
                askers.start_soon(ask, first)
        tasks.cancel_scope.cancel()
    assert answers == {first: [first * 10, first * 10 + 10] for first in range(0, 20, 2)}
    assert batches == [8, 8, 4]


async def test_a_failed_batch_fails_its_requests_and_the_next_one_runs() -> None:
    def run(jobs: Sequence[int]) -> list[int]:
        if 0 in jobs:
            raise LLMError("zero cannot be answered")
        return list(jobs)

    batcher: MicroBatcher[int, int] = MicroBatcher(lambda jobs: list(range(len(jobs))), run)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.serve)
        with pytest.raises(LLMError, match="zero"):
            await batcher.submit([0, 1])
        assert await batcher.submit([1, 2]) == [1, 2]
        tasks.cancel_scope.cancel()


async def test_a_caller_that_leaves_takes_its_waiting_jobs_along() -> None:
    started, release = threading.Event(), threading.Event()
    ran: list[int] = []

    def run(jobs: Sequence[int]) -> list[int]:
        ran.extend(jobs)
        started.set()
        release.wait()
        return list(jobs)

    batcher: MicroBatcher[int, int] = MicroBatcher(lambda jobs: [0], run)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batcher.serve)
        tasks.start_soon(batcher.submit, [1])
        await anyio.to_thread.run_sync(started.wait)
        with anyio.CancelScope() as leaving:
            leaving.cancel()
            await batcher.submit([2])
        release.set()
        assert await batcher.submit([3]) == [3]
        tasks.cancel_scope.cancel()
    assert ran == [1, 3]


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
