"""Prefixes that several token sequences share: finding them, and remembering those once read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dln_core.llm.local.session import Prefix, Session
from dln_core.llm.local.tokens import Tokens

# Reading fewer tokens than this again costs less than storing them.
_WORTH_STORING = 24


def common_length(first: Tokens, second: Tokens) -> int:
    """Return how many tokens at the start of two sequences are equal."""
    size = min(len(first), len(second))
    differs = first[:size] != second[:size]
    return int(differs.argmax()) if differs.any() else size


def nearest_to_first(sequences: Sequence[Tokens]) -> list[int]:
    """Order sequences by how much they share with the first one, which stays first."""
    shared = [common_length(sequences[0], other) for other in sequences]
    return sorted(range(len(sequences)), key=lambda i: (i > 0, -shared[i]))


def group_by_prefix(sequences: Sequence[Tokens]) -> list[tuple[list[int], int]]:
    """Gather sequences that share long prefixes.

    Args:
        sequences: Non-empty token sequences.

    Returns:
        Groups of (indices, length of their shared prefix); each index stands in one group.  The
        prefix leaves at least one token of every sequence.
    """
    # Any order by bytes puts sequences with a common start next to each other.
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].tobytes())
    shared = [common_length(sequences[a], sequences[b]) for a, b in pairwise(order)]
    groups: list[tuple[list[int], int]] = []
    for place, index in enumerate(order):
        own = len(sequences[index]) - 1
        if place == 0 or _is_cut(shared, place - 1):
            groups.append(([index], own))
            continue
        members, length = groups[-1]
        members.append(index)
        groups[-1] = (members, min(length, shared[place - 1], own))
    return groups


def _is_cut(shared: Sequence[int], place: int) -> bool:
    """Tell whether a neighbour shares so much more that a prefix of its own pays."""
    around = [*shared[max(0, place - 1) : place], *shared[place + 1 : place + 2]]
    return bool(around) and shared[place] + _WORTH_STORING <= max(around)


class PrefixMemory:
    """The prefixes read last, within a bound on their memory; any part of one can be used.

    Args:
        max_bytes: The bound; the least recently used go first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: list[Prefix] = []

    def find(self, tokens: Tokens) -> tuple[Prefix | None, int]:
        """Return the prefix that covers most of ``tokens`` from the start, and how many."""
        lengths = [common_length(entry.tokens, tokens) for entry in self._entries]
        if not lengths or max(lengths) == 0:
            return None, 0
        best = int(np.argmax(lengths))
        entry = self._entries.pop(best)
        self._entries.append(entry)
        return entry, lengths[best]

    def add(self, prefix: Prefix) -> None:
        """Remember a prefix; shorter ones that it contains are dropped."""
        self._entries = [
            entry
            for entry in self._entries
            if common_length(entry.tokens, prefix.tokens) < len(entry.tokens)
        ]
        self._entries.append(prefix)
        while len(self._entries) > 1 and sum(e.num_bytes for e in self._entries) > self._max_bytes:
            del self._entries[0]

    def read(self, session: Session, tokens: Tokens) -> tuple[Prefix | None, int]:
        """Return a prefix that covers ``tokens`` nearly or fully, reading the rest if it is long.

        Args:
            session: Used, and left in an arbitrary state, if something must be read.
            tokens: The prefix that is wanted.
        """
        found, length = self.find(tokens)
        if len(tokens) - length < _WORTH_STORING:
            return found, length
        session.begin([(found, length)])
        session.feed([tokens[length:]], [0], [()], _ignore)
        prefix = session.snapshot(tokens)
        self.add(prefix)
        return prefix, len(tokens)


def _ignore(row: int, position: int, logits: object) -> None:
    """Take logits that nobody wants; a prefix is read for its memory alone."""
