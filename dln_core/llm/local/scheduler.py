"""Continuous batching: every step reads a part of whatever is asked, and new work joins at once.

What scores, echoes and generates are all sequences that are read; they differ in where they want
to know what the model expects, and in whether they go on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from dln_core.errors import LLMError
from dln_core.llm.local.blocks import BLOCK_TOKENS, Block, BlockPool, Match, blocks_for
from dln_core.llm.local.model import Chunk, Distribution
from dln_core.llm.local.tokens import Tokens

# More tokens at once make matrix products no faster, and keep those who generate waiting.
STEP_TOKENS = 512
# Logits take 4 bytes x the vocabulary each.
_STEP_LOGITS = 128
# It is worth to wait for what another sequence is about to read if it is this long.
_WORTH_WAITING = 24
# Waiting sequences that are looked at before a step.
_MAX_EXAMINED = 256

Read = Callable[[int, Distribution], int | None]
Answer = TypeVar("Answer", covariant=True)


@dataclass(slots=True, eq=False)
class Reading:
    """A sequence that the model reads.

    Attributes:
        prompt: The tokens that are known from the start, at least one.
        first_wanted: From which position on the model's expectations are wanted.
        read: Told of each wanted position and the distribution of the token after it; may return
            that token for the sequence to go on with.
        max_new: Most tokens that ``read`` may return.
        tokens: The tokens so far, with room for the new ones.
        size: How many there are.
        num_read: How many of them the model has read.
        blocks: Their attention memory.
    """

    prompt: Tokens
    first_wanted: int
    read: Read
    max_new: int = 0
    tokens: Tokens = field(init=False)
    size: int = field(init=False)
    num_read: int = 0
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = np.concatenate([self.prompt, np.zeros(self.max_new, dtype=np.int32)])
        self.size = len(self.prompt)

    @property
    def num_left(self) -> int:
        """Tokens that are still to be read."""
        return self.size - self.num_read

    def chunk(self, max_tokens: int, max_wanted: int) -> Chunk | None:
        """Return the next tokens to read within the bounds; None if there is no room."""
        unwanted = max(0, self.first_wanted - self.num_read)
        length = min(self.num_left, max_tokens, unwanted + max_wanted)
        if length <= 0:
            return None
        return Chunk(
            self.tokens[self.num_read : self.num_read + length],
            self.num_read,
            [block.index for block in self.blocks],
            max(0, length - unwanted),
        )

    def advance(self, length: int, distributions: Sequence[Distribution]) -> None:
        """Take in what a step made of the next tokens."""
        self.num_read += length
        first = self.num_read - len(distributions)
        for position, distribution in enumerate(distributions, start=first):
            token = self.read(position, distribution)
            if token is not None:
                self.tokens[self.size] = token
                self.size += 1


class Model(Protocol):
    """What reads chunks of sequences into blocks of a pool, as ``CompiledModel`` does."""

    @property
    def num_blocks(self) -> int:
        """Size of the pool."""
        ...

    def step(self, chunks: Sequence[Chunk]) -> list[list[Distribution]]:
        """Read chunks; return of each one the distributions that it wanted."""
        ...

    def copy_block(self, source: int, target: int) -> None:
        """Copy a block of the pool to another one."""
        ...


class Task(Protocol[Answer]):
    """A piece of work: sequences to read and what becomes of them."""

    @property
    def readings(self) -> Sequence[Reading]:
        """The sequences; all of them must be read."""
        ...

    def result(self) -> Answer:
        """Return the answer once they are."""
        ...


class Scheduler:
    """Reads sequences, oldest first, in steps of bounded size; used by one thread at a time."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pool = BlockPool(model.num_blocks)
        self._waiting: list[Reading] = []
        self._active: list[Reading] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to read."""
        return not self._waiting and not self._active

    def run(self, tasks: Sequence[Task[Answer]]) -> list[Answer]:
        """Do some work to its end and return the answers.

        Raises:
            LLMError: If the engine was stopped.
        """
        readings = [reading for task in tasks for reading in task.readings]
        self.add(readings)
        try:
            while not self.is_idle:
                self.step()
        finally:
            self.remove(readings)
        return [task.result() for task in tasks]

    def add(self, readings: Iterable[Reading]) -> None:
        """Let sequences wait for their turn.

        Raises:
            LLMError: If one is too long for the attention memory.
        """
        for reading in readings:
            if blocks_for(len(reading.tokens)) > self._model.num_blocks:
                raise LLMError(
                    f"the local engine can read {self._model.num_blocks * BLOCK_TOKENS} tokens at "
                    f"a time, but a text has {len(reading.tokens)}; shorten it"
                )
            self._waiting.append(reading)

    def remove(self, readings: Iterable[Reading]) -> None:
        """Give up sequences, wherever they stand; those that are done are none of them."""
        gone = set(readings)
        self._waiting = [reading for reading in self._waiting if reading not in gone]
        for reading in self._active:
            if reading in gone:
                self._pool.release(reading.blocks)
        self._active = [reading for reading in self._active if reading not in gone]

    def step(self) -> list[Reading]:
        """Read a part of what there is; return the sequences that are done with it.

        Raises:
            LLMError: If the engine was stopped.
        """
        batch = self._next_batch()
        answers = self._model.step([chunk for _, chunk in batch])
        for (reading, chunk), distributions in zip(batch, answers, strict=True):
            reading.advance(len(chunk.tokens), distributions)
            self._pool.note_read(reading.blocks, reading.num_read)
        done = [reading for reading, _ in batch if not reading.num_left]
        self.remove(done)
        return done

    def _next_batch(self) -> list[tuple[Reading, Chunk]]:
        """Choose what the next step reads: a part of everything under way, then new sequences."""
        batch: list[tuple[Reading, Chunk]] = []
        num_tokens, num_wanted = STEP_TOKENS, _STEP_LOGITS

        def add(reading: Reading) -> None:
            nonlocal num_tokens, num_wanted
            chunk = reading.chunk(num_tokens, num_wanted)
            if chunk is not None:
                batch.append((reading, chunk))
                num_tokens -= len(chunk.tokens)
                num_wanted -= chunk.num_wanted

        # Those that generate have one token to read: they go on with every step.
        for reading in sorted(self._active, key=lambda reading: reading.num_left):
            add(reading)
        for reading in self._waiting[:_MAX_EXAMINED]:
            if not num_tokens or not num_wanted or len(self._active) >= _STEP_LOGITS:
                break
            match = self._pool.find(reading.prompt, reading.first_wanted)
            # What another sequence is about to read is waited for.
            if match.promised - match.length >= _WORTH_WAITING:
                continue
            if not self._admit(reading, match):
                break
            self._waiting.remove(reading)
            self._active.append(reading)
            add(reading)
        return batch

    def _admit(self, reading: Reading, match: Match) -> bool:
        """Give a sequence all memory that it may ever need; tell whether there was enough."""
        blocks = self._pool.take(reading.prompt, len(reading.tokens), match)
        if blocks is None and match.partial is not None:
            # What would be copied takes a place that the sequence itself may need.
            match = match.without_partial()
            blocks = self._pool.take(reading.prompt, len(reading.tokens), match)
        if blocks is None:
            return False
        if match.partial is not None:
            self._model.copy_block(match.partial.index, blocks[len(match.shared)].index)
        self._pool.note_read(blocks, match.length)
        reading.blocks, reading.num_read = blocks, match.length
        return True
