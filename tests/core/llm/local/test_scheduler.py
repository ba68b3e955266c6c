"""Continuous batching on an exact toy: its memory holds the very tokens that it was given.

The toy expects after a sequence what that whole sequence decides, as its blocks have it.  So an
answer is right only if every block that was shared, copied or used again holds what it should.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dln_core.errors import LLMError
from dln_core.llm.local.blocks import BLOCK_TOKENS, BlockPool, blocks_for
from dln_core.llm.local.echo import EchoTask
from dln_core.llm.local.model import Chunk, Distribution
from dln_core.llm.local.scheduler import STEP_TOKENS, Reading, Scheduler
from dln_core.llm.local.scoring import ScoreJob, ScoreTask
from dln_core.llm.local.tokens import Tokens
from dln_core.llm.local.worker import Worker

VOCABULARY = 5


def expected_after(seen: Tokens) -> Distribution:
    """What the toy expects after some tokens."""
    rng = np.random.default_rng(zlib.crc32(np.asarray(seen, dtype=np.int32).tobytes()))
    logits = rng.normal(size=VOCABULARY).astype(np.float32)
    return Distribution(logits, float(np.log(np.exp(logits.astype(np.float64)).sum())))


class Toy:
    """A model whose attention memory is the tokens themselves."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.memory = np.full((num_blocks, BLOCK_TOKENS), -1, dtype=np.int32)
        self.num_read = 0
        self.batches: list[int] = []

    def step(self, chunks: Sequence[Chunk]) -> list[list[Distribution]]:
        self.batches.append(len(chunks))
        answers = []
        assert sum(len(chunk.tokens) for chunk in chunks) <= STEP_TOKENS
        for chunk in chunks:
            self.num_read += len(chunk.tokens)
            for place, token in enumerate(chunk.tokens.tolist(), start=chunk.start):
                self.memory[chunk.blocks[place // BLOCK_TOKENS], place % BLOCK_TOKENS] = token
        for chunk in chunks:
            end = chunk.start + len(chunk.tokens)
            seen = self.memory[list(chunk.blocks)].reshape(-1)
            wanted = range(end - chunk.num_wanted, end)
            answers.append([expected_after(seen[: place + 1]) for place in wanted])
        return answers

    def copy_block(self, source: int, target: int) -> None:
        self.memory[target] = self.memory[source]


class Broken(Toy):
    def step(self, chunks: Sequence[Chunk]) -> list[list[Distribution]]:
        raise LLMError("broken")


class Held(Toy):
    """A toy that takes a step only when it is let."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__(num_blocks)
        self.may_step = threading.Semaphore(0)

    def step(self, chunks: Sequence[Chunk]) -> list[list[Distribution]]:
        self.may_step.acquire()
        return super().step(chunks)


class Walk:
    """Generates greedily, a fixed number of tokens."""

    def __init__(self, prompt: Tokens, length: int) -> None:
        self.prompt, self.length = prompt, length
        self.made: list[int] = []
        self.readings = [Reading(prompt, len(prompt) - 1, self.read, length)]

    def read(self, position: int, expected: Distribution) -> int | None:
        self.made.append(int(expected.logits.argmax()))
        return self.made[-1] if len(self.made) < self.length else None

    def result(self) -> list[int]:
        return list(self.made)

    def truth(self) -> list[int]:
        seen = self.prompt.tolist()
        for _ in range(self.length):
            seen.append(int(expected_after(np.array(seen)).logits.argmax()))
        return seen[len(self.prompt) :]


def true_score(job: ScoreJob) -> list[list[float]]:
    scores = []
    for target in job.targets:
        whole = np.concatenate([job.context, target])
        places = range(len(job.context), len(whole))
        scores.append([expected_after(whole[:p]).logprob(int(whole[p])) for p in places])
    return scores


def some(length: int, seed: int = 0) -> Tokens:
    return np.random.default_rng(seed).integers(0, VOCABULARY, length, dtype=np.int32)


# Few beginnings of any length, so that many sequences share some of theirs.
sequences = st.builds(
    lambda shared, seed, own: np.concatenate([some(shared, seed), some(own, seed + 100)]),
    st.integers(0, 90),
    st.integers(0, 2),
    st.integers(1, 40),
)
targets = st.lists(st.integers(1, 50).map(some), min_size=1, max_size=3).map(tuple)
score_jobs = st.lists(st.builds(ScoreJob, sequences, targets), max_size=8)
walks = st.lists(st.tuples(sequences, st.integers(1, 40)), max_size=4)


@settings(deadline=None)
@given(score_jobs, walks, st.lists(sequences, max_size=2), st.integers(6, 40))
def test_everything_read_together_is_as_if_read_alone(
    jobs: list[ScoreJob],
    ways: list[tuple[Tokens, int]],
    texts: list[Tokens],
    num_blocks: int,
) -> None:
    scheduler = Scheduler(Toy(num_blocks))
    scoring = [ScoreTask(job) for job in jobs]
    generation = [Walk(prompt, length) for prompt, length in ways]
    echoes = [EchoTask(text) for text in texts]
    for _ in range(2):
        scheduler.add(r for task in [*scoring, *generation, *echoes] for r in task.readings)
        while not scheduler.is_idle:
            scheduler.step()
        for job, score in zip(jobs, scoring, strict=True):
            for logprobs, expected in zip(score.result(), true_score(job), strict=True):
                assert logprobs == pytest.approx(expected, abs=1e-6)
        for walk in generation:
            assert walk.result() == walk.truth()
        for text, echo in zip(texts, echoes, strict=True):
            places = range(1, len(text))
            true = [expected_after(text[:p]).logprob(int(text[p])) for p in places]
            assert list(echo.result().logprobs[1:]) == pytest.approx(true, abs=1e-6)
        # Once more, now with whatever the first round has left in memory.
        scoring = [ScoreTask(job) for job in jobs]
        generation = [Walk(prompt, length) for prompt, length in ways]
        echoes = [EchoTask(text) for text in texts]


def test_what_many_share_is_read_once_to_the_token() -> None:
    toy = Toy(100)
    shared, tails = some(100), [some(7, seed) for seed in range(1, 21)]
    jobs = [ScoreJob(np.concatenate([shared, tail]), (some(3, 50),)) for tail in tails]
    Scheduler(toy).run([ScoreTask(job) for job in jobs])
    assert toy.num_read <= 100 + 20 * (7 + 2)


def test_late_work_joins_and_ends_before_what_came_first() -> None:
    scheduler = Scheduler(Toy(100))
    long, short = Walk(some(20), 60), Walk(some(20, 1), 3)
    scheduler.add(long.readings)
    for _ in range(10):
        scheduler.step()
    scheduler.add(short.readings)
    done: list[Reading] = []
    while not done:
        done = scheduler.step()
    assert done == short.readings
    assert len(long.made) == 13
    while not scheduler.is_idle:
        scheduler.step()
    assert (long.result(), short.result()) == (long.truth(), short.truth())


def test_memory_is_bounded_and_all_of_it_comes_back() -> None:
    num_blocks = 12
    scheduler = Scheduler(Toy(num_blocks))
    walks = [Walk(some(60, seed), 40) for seed in range(20)]
    scheduler.run(walks)
    assert [walk.result() for walk in walks] == [walk.truth() for walk in walks]
    # Each needs four blocks, so three ran at a time, and what they left behind gives way.
    assert len(scheduler.run([Walk(some(num_blocks * BLOCK_TOKENS - 5, 99), 5)])[0]) == 5


def test_a_sequence_that_is_given_up_frees_its_memory_and_those_who_wait_for_it() -> None:
    scheduler = Scheduler(Toy(8))
    first = Walk(some(200), 50)
    second = ScoreTask(ScoreJob(some(200), (some(2, 1),)))
    scheduler.add([*first.readings, *second.readings])
    scheduler.step()
    scheduler.remove(first.readings)
    while not scheduler.is_idle:
        scheduler.step()
    assert second.result()[0] == pytest.approx(true_score(second.job)[0], abs=1e-6)


def test_what_can_never_fit_is_refused_and_holds_nobody_up() -> None:
    with pytest.raises(LLMError, match="64 tokens"):
        Scheduler(Toy(2)).add(Walk(some(60), 5).readings)


def test_the_pool_forgets_what_was_used_least_recently() -> None:
    pool = BlockPool(4)

    def use(tokens: Tokens) -> None:
        blocks = pool.take(tokens, len(tokens), pool.find(tokens, len(tokens)))
        assert blocks is not None
        pool.note_read(blocks, len(tokens))
        pool.release(blocks)

    old, young, new = (some(2 * BLOCK_TOKENS, seed) for seed in range(3))
    for tokens in (old, young, old, new):
        use(tokens)
    assert pool.num_available == 4
    assert pool.find(old, 64).length == 64
    assert pool.find(new, 64).length == 64
    assert pool.find(young, 64).length < BLOCK_TOKENS
    assert blocks_for(65) == 3


async def test_callers_share_steps_and_one_that_leaves_frees_its_memory() -> None:
    toy = Held(9)
    worker = Worker(Scheduler(toy))
    answers: dict[str, list[int]] = {}

    async def ask(name: str, walk: Walk) -> None:
        answers[name] = (await worker.run([walk]))[0]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as asking:
                asking.start_soon(ask, "left", Walk(some(200), 80))
                await anyio.wait_all_tasks_blocked()
                leaving.cancel()
        async with anyio.create_task_group() as asking:
            asking.start_soon(ask, "one", Walk(some(100, 1), 4))
            asking.start_soon(ask, "two", Walk(some(100, 2), 4))
            toy.may_step.release(100)
        tasks.cancel_scope.cancel()
    assert answers["one"] == Walk(some(100, 1), 4).truth()
    assert answers["two"] == Walk(some(100, 2), 4).truth()
    assert "left" not in answers
    assert max(toy.batches) == 2


async def test_a_text_can_be_followed_as_it_grows() -> None:
    worker = Worker(Scheduler(Toy(20)))
    walk = Walk(some(10), 6)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        seen = [state[0] async for state in worker.follow([walk])]
        tasks.cancel_scope.cancel()
    assert seen == [walk.truth()[: n + 1] for n in range(6)]


async def test_a_failed_step_fails_its_callers_and_the_worker_goes_on() -> None:
    worker = Worker(Scheduler(Broken(20)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        for _ in range(2):
            with pytest.raises(LLMError, match="broken"):
                await worker.run([Walk(some(10), 6)])
        tasks.cancel_scope.cancel()
