"""Which date is it?  In the spirit of BBH's date_understanding."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level, capitalized


@dataclass(frozen=True, slots=True)
class Shift:
    """A way from one date to another: months first, then days; negative ones lead back."""

    months: int = 0
    days: int = 0

    @property
    def back(self) -> Shift:
        """The opposite way."""
        return Shift(-self.months, -self.days)


def solve(start: date, shifts: Sequence[Shift]) -> date:
    """Return the date that the shifts lead to, one after the other.

    A month that is too short for the day ends on its last day.
    """
    for shift in shifts:
        months = start.year * 12 + start.month - 1 + shift.months
        year, month = months // 12, months % 12 + 1
        day = min(start.day, monthrange(year, month)[1])
        start = date(year, month, day) + timedelta(days=shift.days)
    return start


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def written(day: date) -> str:
    """Write a date out: ``29 February 2024``."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


DAYS = {
    "one day": Shift(days=1),
    "two days": Shift(days=2),
    "five days": Shift(days=5),
    "one week": Shift(days=7),
    "ten days": Shift(days=10),
    "two weeks": Shift(days=14),
    "three weeks": Shift(days=21),
    "thirty days": Shift(days=30),
    "45 days": Shift(days=45),
    "a hundred days": Shift(days=100),
}
MONTHS_AND_YEARS = {
    "one month": Shift(months=1),
    "three months": Shift(months=3),
    "half a year": Shift(months=6),
    "one year": Shift(months=12),
    "four years": Shift(months=48),
}
# How the known date leads to today.
_LATER, _EARLIER = True, False
FACTS = {
    _LATER: (
        "{day} was {span} ago.",
        "It is exactly {span} since {day}.",
        "The parcel was posted on {day}, and that was {span} ago.",
        "The tower clock stopped on {day} and has stood still for {span} until today.",
    ),
    _EARLIER: (
        "{span} from today it will be {day}.",
        "In {span}, on {day}, the circus comes to town.",
        "The passport runs out on {day}, which is {span} away.",
        "The regatta is on {day}, {span} from today.",
    ),
}
# How the known date leads to another, which is some time ago.
CHAINS = {
    _LATER: (
        "The ship left on {day} and arrived {span} later. It arrived {ago} ago.",
        "The exam was on {day}; the results came {span} later. They came {ago} ago.",
    ),
    _EARLIER: (
        "The ship arrived on {day}, {span} after it had left. It left {ago} ago.",
        "The wedding was on {day}, {span} after the engagement. The engagement was {ago} ago.",
    ),
}
QUESTIONS = {
    _LATER: ("What is the date {span} from today?", "Which date will it be in {span}?"),
    _EARLIER: ("What was the date {span} ago?", "Which date was it {span} before today?"),
}
_NUM_WRONG = {Level.easy: 3, Level.medium: 4, Level.hard: 5}


def draw(dice: Dice, level: Level) -> Item:
    """Make a story that tells today's date, and ask for another date."""
    spans = DAYS if level is Level.easy else DAYS | MONTHS_AND_YEARS
    directions = [dice.chance(50), dice.chance(50)]
    if level is Level.hard:
        directions.insert(1, _LATER)
    names = [dice.pick(tuple(spans)) for _ in directions]
    shifts = [
        spans[name] if direction is _LATER else spans[name].back
        for name, direction in zip(names, directions, strict=True)
    ]
    known = _day(dice)
    while not _is_plain(known, shifts):
        known = _day(dice)
    stories = CHAINS if level is Level.hard else FACTS
    story = dice.pick(stories[directions[0]]).format(
        day=written(known), span=names[0], ago=names[1]
    )
    question = dice.pick(QUESTIONS[directions[-1]]).format(span=names[-1])
    wrong = dice.sample(_wrong_dates(known, shifts), _NUM_WRONG[level])
    return Item(
        text=f"{capitalized(story)} {question}",
        target=written(solve(known, shifts)),
        wrong=tuple(map(written, wrong)),
        source=repr((known, shifts[:-1])),
    )


def _day(dice: Dice) -> date:
    """Draw a date; half of them are near the end of February or of another month."""
    start = date(dice.between(1890, 2090), dice.between(1, 12), 1)
    if dice.chance(20):
        start = start.replace(year=start.year // 4 * 4, month=3)
    return start + timedelta(days=dice.between(-4, 3) if dice.chance(50) else dice.below(28))


def _is_plain(known: date, shifts: Sequence[Shift]) -> bool:
    """Tell whether no month on the way, forward or backward, is too short for its day."""
    days = [solve(known, shifts[:number]) for number in range(len(shifts) + 1)]
    moves = zip(pairwise(days), shifts, strict=True)
    return all(not shift.months or one.day == other.day for (one, other), shift in moves)


def _wrong_dates(known: date, shifts: Sequence[Shift]) -> list[date]:
    """Return dates that slips lead to: a wrong direction, month or year, or a day too many."""
    *before, last = shifts
    right, opposite = solve(known, shifts), solve(known, [*before, last.back])
    near = [Shift(days=n) for n in (-2, -1, 1, 2)] + [Shift(months=n) for n in (-12, -1, 1, 12)]
    slips = [solve(day, [shift]) for day in (right, opposite) for shift in near]
    slips += [known, solve(known, before), opposite]
    return [day for day in dict.fromkeys(slips) if day != right]
