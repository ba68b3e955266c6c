"""The blocks of the attention memory: who uses them, and which hold what others begin with.

Blocks that hold tokens of prompts stand in a tree by those tokens.  A sequence that begins like
one that was read, or is being read, takes its full blocks as they are and a copy of the one in
which the two part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from dln_core.llm.local.tokens import Tokens

# What the attention of the CPU takes; no choice.
BLOCK_TOKENS = 32
# Where sequences part, this many of the latest others are compared.
_MAX_COMPARED = 32


def blocks_for(num_tokens: int) -> int:
    """Return how many blocks hold a number of tokens."""
    return -(-num_tokens // BLOCK_TOKENS)


def common_length(first: Tokens, second: Tokens) -> int:
    """Return how many tokens at the start of two sequences are equal."""
    size = min(len(first), len(second))
    differs = first[:size] != second[:size]
    return int(differs.argmax()) if differs.any() else size


@dataclass(slots=True, eq=False)
class Block:
    """A block of the pool.

    Attributes:
        index: Its place in the pool.
        tokens: The tokens of a prompt that it holds, or will hold once they are read.
        parent: The block before it in the tree; None if it does not stand there.
        num_read: How many of its tokens have been read.
        num_users: Sequences that hold it.
        children: Blocks that follow it, by their tokens.
    """

    index: int
    tokens: Tokens
    parent: Block | None = None
    num_read: int = 0
    num_users: int = 0
    children: dict[bytes, Block] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """How the beginning of a sequence is known.

    Attributes:
        shared: Full blocks that can be used as they are.
        partial: A block of which the first tokens can be copied; None if there is none.
        length: Tokens that need not be read, those of ``partial`` included.
        promised: The same, once the sequences that are being read have got so far.
    """

    shared: tuple[Block, ...] = ()
    partial: Block | None = None
    length: int = 0
    promised: int = 0

    def without_partial(self) -> Match:
        """Return what of it needs no copy."""
        return Match(self.shared, None, len(self.shared) * BLOCK_TOKENS, self.promised)


class BlockPool:
    """Blocks by their users; those without a user are kept until their place is needed.

    Args:
        num_blocks: Size of the pool.
    """

    def __init__(self, num_blocks: int) -> None:
        self._root = Block(-1, np.zeros(0, dtype=np.int32))
        self._free = list(range(num_blocks))
        # Least recently used first; a block always stands before the one that it follows.
        self._kept: dict[Block, None] = {}
        self.num_blocks = num_blocks

    @property
    def num_available(self) -> int:
        """Blocks that nobody uses."""
        return len(self._free) + len(self._kept)

    def find(self, tokens: Tokens, limit: int) -> Match:
        """Return how the first tokens of a sequence, at most ``limit``, are known."""
        path = list(self._path(tokens[:limit]))
        shared: list[Block] = []
        partial, length = None, 0
        for block, size in path:
            ready = min(size, block.num_read)
            length += ready
            if ready < BLOCK_TOKENS:
                partial = block if ready else None
                break
            shared.append(block)
        return Match(tuple(shared), partial, length, sum(size for _, size in path))

    def _path(self, tokens: Tokens) -> Iterator[tuple[Block, int]]:
        """Yield the blocks that begin like a sequence, each with how many tokens it shares."""
        node = self._root
        for start in range(0, len(tokens), BLOCK_TOKENS):
            piece = tokens[start : start + BLOCK_TOKENS]
            same = node.children.get(piece.tobytes()) if len(piece) == BLOCK_TOKENS else None
            if same is not None:
                yield same, BLOCK_TOKENS
                node = same
                continue
            latest = islice(reversed(node.children.values()), _MAX_COMPARED)
            shared = [(common_length(child.tokens, piece), child) for child in latest]
            size, child = max(shared, key=lambda pair: pair[0], default=(0, node))
            if size:
                yield child, size
            return

    def take(self, tokens: Tokens, capacity: int, match: Match) -> list[Block] | None:
        """Give a sequence the blocks that it needs.

        Args:
            tokens: The prompt.
            capacity: Tokens that the blocks must hold, the prompt included.
            match: What ``find`` said of the prompt.  What it would copy stays where it is only
                until the next call.

        Returns:
            The shared blocks and new ones; None if there are too few.
        """
        held = [*match.shared, match.partial] if match.partial else list(match.shared)
        self._hold(held)
        num_new = blocks_for(capacity) - len(match.shared)
        blocks = None
        if num_new <= self.num_available:
            blocks = list(match.shared)
            for _ in range(num_new):
                blocks.append(self._new(tokens, len(blocks), blocks[-1] if blocks else self._root))
        self.release(held[len(match.shared) :] if blocks else held)
        return blocks

    def note_read(self, blocks: Sequence[Block], num_read: int) -> None:
        """Note that a sequence was read so far; what it read can then be shared."""
        for place in range(len(blocks) - 1, -1, -1):
            block = blocks[place]
            if block.num_read == len(block.tokens) > 0:
                return
            in_block = num_read - place * BLOCK_TOKENS
            block.num_read = max(0, min(in_block, len(block.tokens)))

    def release(self, blocks: Sequence[Block]) -> None:
        """Take back the blocks of a sequence; what was read wholly is kept to be shared."""
        for block in reversed(blocks):
            block.num_users -= 1
            if block.num_users:
                continue
            if block.parent is not None and block.num_read == len(block.tokens):
                self._kept[block] = None
            else:
                self._forget(block)
                self._free.append(block.index)

    def _hold(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            block.num_users += 1
            self._kept.pop(block, None)

    def _new(self, tokens: Tokens, place: int, before: Block) -> Block:
        """Make a block for its part of a sequence and put it into the tree if it belongs there."""
        if not self._free:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._forget(oldest)
            self._free.append(oldest.index)
        piece = tokens[place * BLOCK_TOKENS : (place + 1) * BLOCK_TOKENS]
        block = Block(self._free.pop(), piece, num_users=1)
        stands = before is self._root or before.parent is not None
        if len(piece) and stands and piece.tobytes() not in before.children:
            before.children[piece.tobytes()] = block
            block.parent = before
        return block

    @staticmethod
    def _forget(block: Block) -> None:
        """Take a block out of the tree."""
        if block.parent is not None:
            del block.parent.children[block.tokens.tobytes()]
            block.parent = None
