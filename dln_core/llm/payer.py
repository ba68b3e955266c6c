"""Who pays for an answer: a bill that survives a kill.

Every stored answer carries the mark of the unit of work that paid for it.  A unit that is lost
before it was recorded is done again, mostly from the store: what it finds there under its own mark
was paid by the attempt that was lost, and belongs on its bill.  What it does not ask for again, as
when a step was lost and training has been stopped since, nobody is billed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MARK_BYTES = 8
_NOBODY = bytes(MARK_BYTES)


class Payer:
    """The unit of work under way, on whose bill new answers go."""

    def __init__(self) -> None:
        self._mark = _NOBODY
        self._billed: set[bytes] = set()

    @contextmanager
    def paying(self, unit: str | None) -> Iterator[None]:
        """Let a unit pay, one at a time.

        Args:
            unit: The same name at every attempt, and no other unit's; None bills nobody, so that
                stored answers cost nothing whoever paid for them.
        """
        if unit is not None:
            self._mark = hashlib.blake2b(unit.encode(), digest_size=MARK_BYTES).digest()
        try:
            yield
        finally:
            self._mark = _NOBODY
            self._billed.clear()

    def marked(self, answers: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Put answers that were just paid for on the bill, and give them the mark."""
        self._billed.update(answers)
        return {key: self._mark + answer for key, answer in answers.items()}

    def settled(self, stored: Mapping[bytes, bytes]) -> set[bytes]:
        """Put those stored answers on the bill that a lost attempt paid for; return their keys."""
        if self._mark == _NOBODY:
            return set()
        own = {key for key, marked in stored.items() if marked.startswith(self._mark)}
        own -= self._billed
        self._billed |= own
        return own


def unmarked(marked: bytes) -> bytes:
    """Return a stored answer without its mark."""
    return marked[MARK_BYTES:]
