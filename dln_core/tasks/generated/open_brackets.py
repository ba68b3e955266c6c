"""Brackets to be closed.  In the spirit of BBH's dyck_languages."""

from __future__ import annotations

from collections.abc import Iterable

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level

CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def solve(brackets: Iterable[str]) -> list[str]:
    """Return the brackets that close all that is open, the innermost first.

    Raises:
        ValueError: If a bracket closes what is not open.
    """
    pending: list[str] = []
    for place, bracket in enumerate(brackets):
        if bracket in CLOSING:
            pending.append(CLOSING[bracket])
        elif not pending or pending.pop() != bracket:
            raise ValueError(f"bracket {place + 1}, {bracket}, closes what is not open")
    return pending[::-1]


_PROMPTS = (
    "{}",
    "Typed so far: {}",
    "A program breaks off in the middle of a line: {}",
    "Which brackets close this? {}",
)
# Fewest and most brackets, and how many may be left open.
_SHAPES = {Level.easy: (4, 9, 2), Level.medium: (10, 21, 4), Level.hard: (24, 45, 7)}


def draw(dice: Dice, level: Level) -> Item:
    """Make the beginning of a sequence that can be completed, and is not complete."""
    fewest, most, deepest = _SHAPES[level]
    num_left_open = dice.between(1, deepest)
    length = dice.between(fewest, most)
    length += (length - num_left_open) % 2
    written: list[str] = []
    pending: list[str] = []
    while len(written) < length:
        must_open = length - len(written) <= num_left_open - len(pending)
        must_close = length - len(written) <= len(pending) - num_left_open
        if must_open or not pending or (not must_close and dice.chance(50)):
            bracket = dice.pick(tuple(CLOSING))
            pending.append(CLOSING[bracket])
        else:
            bracket = pending.pop()
        written.append(bracket)
    shown = " ".join(written)
    return Item(
        text=dice.pick(_PROMPTS).format(shown), target=" ".join(solve(written)), source=shown
    )
