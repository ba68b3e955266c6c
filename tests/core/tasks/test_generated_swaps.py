"""Swaps: the solver against BBH's tracking_shuffled_objects and against the history of a thing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from dln_core.tasks.generated.swaps import Exchange, draw, solve
from tests.core.tasks.bbh_items import bbh_items, options_of

HOLDS = (
    r"(\w+) (?:gets|is playing|has a|is dancing with) (.*?)(?=, (?:and )?\w+ (?:gets|is|has)|\.\n)"
)
SWAP = r"(\w+) and (\w+) (?:swap|switch|trade)"


def parse(text: str) -> tuple[Exchange, str]:
    """Read an item of BBH's tracking_shuffled_objects."""
    rest = text.partition(": ")[2]
    held = re.findall(HOLDS, rest)
    swaps = re.findall(SWAP, rest.partition(".\n")[2])
    return Exchange(tuple(held), tuple(swaps)), re.search(r"At the end of the \w+, (\w+)", rest)[1]


@pytest.mark.parametrize("number", ["three", "five", "seven"])
def test_the_solver_agrees_with_every_gold_answer(data_dir, number):
    for text, gold in bbh_items(data_dir, f"tracking_shuffled_objects_{number}_objects"):
        exchange, asked = parse(text)
        assert len(exchange.held) == {"three": 3, "five": 5, "seven": 7}[number]
        assert solve(exchange, asked) == options_of(text)[gold], text


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_each_thing_ends_where_its_own_way_leads(swaps):
    held = tuple((f"p{n}", f"thing {n}") for n in range(5))
    exchange = Exchange(held, tuple((f"p{one}", f"p{other}") for one, other in swaps))
    for start, thing in enumerate(name for _, name in held):
        place = start
        for pair in swaps:
            if place in pair:
                place = sum(pair) - place
        assert solve(exchange, f"p{place}") == thing


START = re.compile(
    r"(\w+) (?:grows|takes|draws|has) ((?:the )?\w+(?: umbrella| watch)?)(?=[,.]| and)"
)
PRINTED_SWAP = re.compile(
    r"(\w+) (?:and|(?:trades|swaps) (?:plots|umbrellas|watches|songs) with) (\w+)"
    r"(?: (?:exchange|swap)|\.)"
)


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_exchange(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        _, start, *told = item.text.split(". ")
        held = START.findall(f"{start}.")
        *swaps, question = told
        pairs = tuple(PRINTED_SWAP.search(f"{swap}.").groups() for swap in swaps)
        people = [person for person, _ in held]
        (asked,) = [person for person in people if person in question]
        assert all({one, other} <= set(people) for one, other in pairs)
        assert solve(Exchange(tuple(held), pairs), asked) == item.target
        assert sorted([*item.wrong, item.target]) == sorted(thing for _, thing in held)
