"""Dates: the solver against BBH's date_understanding and against a calendar turned day by day."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dates import (
    CHAINS,
    DAYS,
    FACTS,
    MONTHS,
    MONTHS_AND_YEARS,
    QUESTIONS,
    Shift,
    draw,
    solve,
    written,
)
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import SMALLEST_AGREEMENT, bbh_items, options_of


def days(count: int) -> Shift:
    return Shift(days=count)


def years(count: int) -> Shift:
    return Shift(months=12 * count)


# What each story of BBH's tells: a date, and the way from it to today.
STORIES = {
    "Today is Sep 9, 1909": (date(1909, 9, 9),),
    "Jane was born on the last day of Feburary in 2001": (date(2001, 2, 28), years(16)),
    "Jane was born on the last day of Feburary in 2000": (date(2000, 2, 29), years(16)),
    # She eats the first egg on the day after.
    "On May 9th, 2017 Jane bought 40 eggs": (date(2017, 5, 9), days(40)),
    "Today is Apr 10, 1985": (date(1985, 4, 10),),
    "Yesterday, Jan 21, 2011": (date(2011, 1, 21), days(1)),
    "Jane is celebrating the last day of Jan 2012": (date(2012, 1, 31),),
    "Jane booked a flight for tomorrow, Jul 29, 2002": (date(2002, 7, 29), days(-1)),
    "Today is 9/7. Jane is watching NFL 2003": (date(2003, 9, 7),),
    "Today is 3/5, and it is Jane's second time in the year 1973": (date(1973, 3, 5),),
    "Jane quited her job on Mar 20, 2020. 176 days": (date(2020, 3, 20), days(176)),
    "2015 is coming in 36 hours": (date(2015, 1, 1), days(-2)),
    "The deadline is Jun 1, 2021, which is 2 days away": (date(2021, 6, 1), days(-2)),
    "Jane thinks today is 6/18/2019, but John thinks today is 6/19/2019. John is correct": (
        date(2019, 6, 19),
    ),
    "Jane thinks today is 6/18/2019, but John thinks today is 6/19/2019. Jane is correct": (
        date(2019, 6, 18),
    ),
    "Jane and John married on Jan 2, 1958. Today is their golden": (date(1958, 1, 2), years(50)),
    "Jane and John married on Jan 2, 1958. It is their 5-year": (date(1958, 1, 2), years(5)),
    "It was Sept. 1st, 2021 a week ago": (date(2021, 9, 1), days(7)),
    "Today is Christmas Eve of 1937": (date(1937, 12, 24),),
    "Jane scheduled 3 apointments with 5 poeple for tomorrow (Tue, 7/9/1972)": (
        date(1972, 7, 9), days(-1),
    ),
    "Tomorrow is 11/12/2019": (date(2019, 11, 12), days(-1)),
    "Yesterday was 12/31/1929": (date(1929, 12, 31), days(1)),
    "May 6, 1992 is like yesterday to Jane, but that is actually ten years ago": (
        date(1992, 5, 6), years(10),
    ),
    "Yesterday was April 30, 2021": (date(2021, 4, 30), days(1)),
    "Today is the second day of the third month of 1966": (date(1966, 3, 2),),
    "It is 4/19/1969 today": (date(1969, 4, 19),),
    "Today, 8/3/1997, is a day that we will never forget": (date(1997, 8, 3),),
    "In the US, Thanksgiving is on the fourth Thursday of November. Today is the US "
    "Thanksgiving of 2001": (date(2001, 11, 22),),
    "Today is the last day of the first quarter of 2008": (date(2008, 3, 31),),
    "In the UK, people usually put the day before the month": (date(1987, 1, 2),),
    "Jane visits the bookstore on the 16th of each month starting from the October of 2009. It "
    "is her 5th visit": (date(2009, 10, 16), Shift(months=4)),
    "The first day of 2019 is a Tuesday, and today is the first Monday of 2019": (
        date(2019, 1, 7),
    ),
    "Today is the palindrome day of 2020": (date(2020, 2, 2),),
    "The current local time is 3:02 pm of 5/4/2004": (date(2004, 5, 4),),
    # Her second day at work was a December 2, of 2016.
    "Jane got her job in 2016. Today is her 3-year work anniversary": (
        date(2016, 12, 2), days(-1), years(3),
    ),
    "Jane thought today is 3/11/2002, but today is in fact Mar 12": (date(2002, 3, 12),),
    "Today's meeting is rescheduled to 11 am tomorrow, 10/16/1924": (
        date(1924, 10, 16), days(-1),
    ),
    "The concert was scheduled to be on 06/01/1943, but was delayed by one day": (
        date(1943, 6, 1), days(1),
    ),
    "The day before yesterday was 11/23/1933": (date(1933, 11, 23), days(2)),
    "This is the last day of 1899": (date(1899, 12, 31),),
    "Today is the first day of 2007": (date(2007, 1, 1),),
}  # fmt: skip
ASKED = {
    "today": (),
    "tomorrow": (days(1),),
    "24 hours later": (days(1),),
    "yesterday": (days(-1),),
    "one week from today": (days(7),),
    "one week ago from today": (days(-7),),
    "10 days ago": (days(-10),),
    "a month ago": (Shift(months=-1),),
    "one year ago from today": (years(-1),),
}


# What the gold answers take for today, against what the story says: 36 hours before 2015 it is
# December 30; the Thanksgiving of 2001 is not in 2002; five years after 1958 it is 1963.
MISREAD_TODAYS = {
    "2015 is coming in 36 hours": date(2014, 12, 29),
    "In the US, Thanksgiving is on the fourth Thursday of November. Today is the US "
    "Thanksgiving of 2001": date(2002, 11, 22),
    "Jane and John married on Jan 2, 1958. It is their 5-year": date(1961, 1, 2),
}
# A week after January 31 it is February 7, not 6.
MISCOUNTED = [
    "Jane is celebrating the last day of Jan 2012. What is the date one week from today in "
    "MM/DD/YYYY?"
]


def parse(text: str) -> tuple[str, list[Shift]]:
    """Read an item of BBH's date_understanding: which story it tells, and the way from today."""
    (opening,) = (opening for opening in STORIES if text.startswith(opening))
    question = re.search(r"What is the date (.*) in MM/DD/YYYY\?", text)[1]
    return opening, list(ASKED[question])


def disagreeing(items: list[tuple[str, str]], todays: dict[str, date]) -> list[str]:
    """Return the questions on which solver and gold disagree, counting from the days given."""
    odd = []
    for text, gold in items:
        opening, asked = parse(text)
        if solve(todays[opening], asked).strftime("%m/%d/%Y") != options_of(text)[gold]:
            odd.append(text.partition("\nOptions:")[0])
    return odd


TODAYS = {opening: solve(start, shifts) for opening, (start, *shifts) in STORIES.items()}


def test_counting_from_the_golds_today_the_solver_agrees_with_all_gold_answers_but_one(data_dir):
    items = bbh_items(data_dir, "date_understanding")
    odd = disagreeing(items, TODAYS | MISREAD_TODAYS)
    assert odd == MISCOUNTED
    assert len(odd) <= (1 - SMALLEST_AGREEMENT) * len(items)


def test_the_todays_of_all_other_stories_agree_with_the_gold_answers(data_dir):
    odd = disagreeing(bbh_items(data_dir, "date_understanding"), TODAYS)
    misread = [text for text in odd if text.startswith(tuple(MISREAD_TODAYS))]
    assert set(odd) - set(misread) == set(MISCOUNTED)
    assert len(misread) == 19


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_lengths(year: int) -> list[int]:
    return [31, 29 if is_leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def next_day(year: int, month: int, day: int) -> tuple[int, int, int]:
    """Turn a calendar page."""
    if day < month_lengths(year)[month - 1]:
        return year, month, day + 1
    return (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)


dates = st.dates(date(1880, 1, 1), date(2110, 1, 1))


@given(dates, st.integers(0, 500))
def test_days_are_counted_as_on_a_calendar(start, count):
    page = (start.year, start.month, start.day)
    for _ in range(count):
        page = next_day(*page)
    assert solve(start, [days(count)]) == date(*page)
    assert solve(date(*page), [days(-count)]) == start


@given(dates, st.integers(-60, 60))
def test_months_keep_the_day_or_end_on_the_last_one(start, count):
    end = solve(start, [Shift(months=count)])
    assert (end.year - start.year) * 12 + end.month - start.month == count
    assert end.day == min(start.day, month_lengths(end.year)[end.month - 1])


@pytest.mark.parametrize(
    ("start", "shift", "end"),
    [
        (date(2024, 2, 28), days(1), date(2024, 2, 29)),
        (date(2023, 2, 28), days(1), date(2023, 3, 1)),
        (date(1900, 2, 28), days(1), date(1900, 3, 1)),
        (date(2000, 2, 28), days(1), date(2000, 2, 29)),
        (date(2024, 2, 29), years(1), date(2025, 2, 28)),
        (date(2024, 3, 31), Shift(months=-1), date(2024, 2, 29)),
        (date(2023, 12, 31), days(1), date(2024, 1, 1)),
        (date(2024, 1, 15), Shift(months=-1), date(2023, 12, 15)),
    ],
)
def test_leap_years_and_the_ends_of_months_and_years(start, shift, end):
    assert solve(start, [shift]) == end


def pattern_of(template: str) -> str:
    """Return a pattern with the template's fields as groups."""
    escaped = re.escape(template[0].upper() + template[1:]).replace(r"\{", "{").replace(r"\}", "}")
    span = "|".join([*DAYS, *MONTHS_AND_YEARS])
    return escaped.format(
        day=r"(?P<day>\d+ \w+ \d+)", span=f"(?i:(?P<span>{span}))", ago=f"(?P<ago>{span})"
    )


PATTERNS = [
    (pattern_of(story), pattern_of(question), is_later, asks_later)
    for told in (FACTS, CHAINS)
    for is_later, stories in told.items()
    for story in stories
    for asks_later, questions in QUESTIONS.items()
    for question in questions
]


def read(text: str) -> tuple[date, list[Shift]]:
    """Read one of our own items."""
    shifts = DAYS | MONTHS_AND_YEARS
    for story, question, is_later, asks_later in PATTERNS:
        found = re.fullmatch(f"{story} {question.replace('?P<span>', '?P<asked>')}", text)
        if found:
            words = found.groupdict()
            day, month, year = words["day"].split()
            first, last = shifts[words["span"].lower()], shifts[words["asked"].lower()]
            way = [first if is_later else first.back]
            way += [shifts[words["ago"]]] if words.get("ago") else []
            way += [last if asks_later else last.back]
            return date(int(year), MONTHS.index(month) + 1, int(day)), way
    raise AssertionError(text)


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_dates_and_no_month_on_the_way_is_too_short(level):
    dice = Dice(1, "text")
    for _ in range(100):
        item = draw(dice, level)
        start, way = read(item.text)
        end = solve(start, way)
        assert written(end) == item.target, item.text
        assert solve(end, [shift.back for shift in reversed(way)]) == start
