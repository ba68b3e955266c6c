"""Dividing what there is among those who want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one of them wants: at least ``least`` for it to be of any use, at most ``most``."""

    least: float
    most: float


def divide(total: float, claims: Sequence[Claim]) -> list[float]:
    """Divide a total in whole units.

    First everybody gets the least that is of use, as far as it goes in the given order; the first
    one gets it even if it exceeds the total, since it would wait for ever otherwise.  The rest is
    spread evenly, nobody getting more than the most that is wanted.

    Args:
        total: What there is.
        claims: In order of right of way.

    Returns:
        A part each, in the same order.
    """
    left = total
    parts: list[float] = []
    for claim in claims:
        part = claim.least if claim.least <= left or not parts else 0.0
        parts.append(part)
        left -= part
    if left < 1:
        return parts
    # Who wants little comes first, so that what it leaves is spread over the others.
    wants = sorted([(claim.most - parts[place], place) for place, claim in enumerate(claims)])
    for num_done, (want, place) in enumerate(wants):
        more = max(0.0, min(want, left // (len(wants) - num_done)))
        parts[place] += more
        left -= more
    return parts
