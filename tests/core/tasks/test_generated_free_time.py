"""Free time: the solver against BBH's temporal_sequences and against a minute-by-minute day."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.free_time import Span, draw, solve
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import bbh_items, options_of

HALF_A_DAY = 12 * 60


def minute_of(clock: str) -> int:
    """Read a time such as 7am, 12pm or 18:30."""
    hour, minutes, half = re.fullmatch(r"(\d+)(?::(\d\d))?(am|pm)?", clock).groups()
    if not half:
        return int(hour) * 60 + int(minutes)
    return int(hour) % 12 * 60 + int(minutes or 0) + (HALF_A_DAY if half == "pm" else 0)


def span_of(start: str, end: str) -> Span:
    return Span(minute_of(start), minute_of(end))


def spans_in(text: str) -> list[Span]:
    """Read all spans such as "7am to 11am" or "9:15 to 10:00"."""
    clock = r"(\d+(?::\d\d)?(?:am|pm)?)"
    return [span_of(*found) for found in re.findall(rf"{clock} to {clock}", text)]


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "temporal_sequences"):
        story, _, printed = text.partition("\nOptions:\n")
        limits = span_of(
            re.search(r"woke up at (\w+)", story)[1], re.search(r"closed after (\w+)", story)[1]
        )
        (free,) = solve(limits, spans_in(story), spans_in(printed))
        assert list(options_of(text))[free] == gold, text


spans = st.builds(
    lambda start, length: Span(start, start + length), st.integers(0, 60), st.integers(1, 40)
)


@given(spans, st.lists(spans), st.lists(spans))
def test_a_free_span_is_free_in_each_of_its_minutes(limits, busy, options):
    taken = {minute for span in busy for minute in range(span.start, span.end)}
    free = set(range(limits.start, limits.end)) - taken
    assert solve(limits, busy, options) == [
        index for index, span in enumerate(options) if set(range(span.start, span.end)) <= free
    ]


@pytest.mark.parametrize("level", Level)
def test_the_text_leaves_one_gap_and_one_free_option(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        opening, *rest = item.text.split(". ")
        limits = span_of(*re.findall(r"\d+:\d\d", opening))
        busy = spans_in(". ".join(rest))
        (gap,) = spans_in(item.target)
        assert solve(limits, busy, [gap, *spans_in(" ".join(item.wrong))]) == [0]
        # The free option is the whole gap, not a part of it.
        covered = sum(span.end - span.start for span in [*busy, gap])
        assert covered == limits.end - limits.start
