"""When could it have been?  In the spirit of BBH's temporal_sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level, capitalized


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A span of one day, in minutes since midnight."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{_clock(self.start)} to {_clock(self.end)}"


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02}"


def solve(limits: Span, busy: Sequence[Span], options: Sequence[Span]) -> list[int]:
    """Return the indices of the options that lie within the limits and touch no busy span.

    Spans that only share a moment, at which one ends and the other starts, do not touch.
    """
    return [
        index
        for index, span in enumerate(options)
        if limits.start <= span.start < span.end <= limits.end
        and all(span.end <= other.start or other.end <= span.start for other in busy)
    ]


_PLACES = (
    "the planetarium", "the botanical garden", "the ice rink", "the tailor's", "the town archive",
    "the aquarium", "the bowling alley", "the hairdresser's", "the optician's", "the toy museum",
)  # fmt: skip
_DEEDS = (
    "was on the phone", "gave a piano lesson", "sat in a meeting", "waited at the ferry pier",
    "mended a fence", "was at the dentist's", "sold lemonade in the market", "rehearsed a play",
    "painted a mural", "cooked for a street party", "rowed on the lake", "did the accounts",
    "looked after the twins", "gave an interview", "played chess in the park",
)  # fmt: skip
_LIMITS = (
    "{place} was open from {start} to {end}.",
    "{name} came to town at {start}, and {place} closed at {end}.",
    "{place} opened at {start}, and {name} took the train home at {end}.",
)
_QUESTIONS = (
    "When can {name} have been at {place}?",
    "{name} was at {place} once that day. In which of these spans?",
)
# Busy spans, the grid of times in minutes, and whether the spans are told out of order.
_SHAPES = {Level.easy: (3, 60, False), Level.medium: (5, 30, False), Level.hard: (7, 15, True)}
_NUM_WRONG = 3
_OPENS, _CLOSES = 7 * 60, 22 * 60


def draw(dice: Dice, level: Level) -> Item:
    """Make a day with a single gap; of the other options, some are half in it."""
    num_busy, grid, is_mixed = _SHAPES[level]
    moments = dice.sample(range(_OPENS, _CLOSES + 1, grid), num_busy + 2)
    spans = [Span(start, end) for start, end in pairwise(sorted(moments))]
    limits = Span(spans[0].start, spans[-1].end)
    gap = dice.pick(spans)
    busy = [span for span in spans if span != gap]
    tempting = dict.fromkeys(busy + _half_in(gap, grid))
    wrong = [span for span in tempting if not solve(limits, busy, [span])]
    name, place = dice.pick(PEOPLE), dice.pick(_PLACES)
    deeds = dice.sample(_DEEDS, len(busy))
    told = [f"{name} {deed} from {span}." for deed, span in zip(deeds, busy, strict=True)]
    words = {"name": name, "place": place, "start": _clock(limits.start), "end": _clock(limits.end)}
    sentences = [
        capitalized(dice.pick(_LIMITS).format(**words)),
        *(dice.shuffled(told) if is_mixed else told),
        dice.pick(_QUESTIONS).format(**words),
    ]
    return Item(
        text=" ".join(sentences),
        target=str(gap),
        wrong=tuple(map(str, dice.sample(wrong, _NUM_WRONG))),
        source=repr((limits, sorted(busy), name)),
    )


def _half_in(gap: Span, grid: int) -> list[Span]:
    """Return spans that are as long as the gap but start earlier or later than it."""
    shifts = (-2 * grid, -grid, grid, 2 * grid)
    return [Span(gap.start + shift, gap.end + shift) for shift in shifts]
