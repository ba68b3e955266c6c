"""Walks: the solver against BBH's navigate, a walker on a grid and the printed text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from dln_core.tasks.generated.walks import AHEAD, BACK, LEFT, RIGHT, Step, draw, position, solve
from tests.core.tasks.bbh_items import bbh_items, sentences_of

TURNS = {"Turn left": LEFT, "Turn around": BACK, "Turn right": RIGHT}
DIRECTIONS = {"": AHEAD, "forward": AHEAD, "left": LEFT, "backward": BACK, "right": RIGHT}


def parse(text: str) -> list[Step]:
    """Read an item of BBH's navigate."""
    told = text.partition("starting point? ")[2].partition("\nOptions:")[0]
    steps = []
    for sentence in sentences_of(told):
        if sentence in TURNS:
            steps.append(Step(TURNS[sentence], AHEAD, 0))
        elif sentence != "Always face forward":
            distance, direction = re.fullmatch(r"Take (\d+) steps? ?(\w*)", sentence).groups()
            steps.append(Step(0, DIRECTIONS[direction], int(distance)))
    return steps


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "navigate"):
        assert solve(parse(text)) == (gold == "Yes"), text


def walk_on_a_grid(steps: list[Step]) -> tuple[int, int]:
    """Go step by step, with a compass in the place of complex numbers."""
    compass = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    x, y, looks = 0, 0, 0
    for step in steps:
        looks = (looks + step.turn) % 4
        dx, dy = compass[(looks + step.direction) % 4]
        for _ in range(step.distance):
            x, y = x + dx, y + dy
    return x, y


steps = st.builds(Step, st.integers(0, 3), st.integers(0, 3), st.integers(0, 20))


@given(st.lists(steps))
def test_the_position_is_that_of_a_walker_on_a_grid(steps):
    assert position(steps) == complex(*walk_on_a_grid(steps))


PRINTED_MOVE = re.compile(r"(?P<distance>\d+) (?:tile|pace|block|mile|metre|step)s?\b(?P<way>.*)")
PRINTED_TURNS = {
    "quarter to the left": LEFT, "your left": LEFT, "a left turn": LEFT,
    "half way round": BACK, "face the other way": BACK, "about-turn": BACK,
    "quarter to the right": RIGHT, "your right": RIGHT, "a right turn": RIGHT,
}  # fmt: skip
PRINTED_WAYS = {
    "": AHEAD, " forward": AHEAD, " north": AHEAD, " away": AHEAD,
    " west": LEFT, " left": LEFT, " to her left": LEFT,
    " south": BACK, " nearer": BACK, " backward": BACK,
    " east": RIGHT, " right": RIGHT, " to her right": RIGHT,
}  # fmt: skip


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_walk(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        read = []
        for sentence in sentences_of(item.text)[1:-1]:
            if found := PRINTED_MOVE.search(sentence):
                read.append(Step(0, PRINTED_WAYS[found["way"]], int(found["distance"])))
            else:
                (turn,) = [turn for cue, turn in PRINTED_TURNS.items() if cue in sentence]
                read.append(Step(turn, AHEAD, 0))
        last = PRINTED_MOVE.search(sentences_of(item.text)[-1])
        if last:
            way = last["way"].partition(".")[0]
            read.append(Step(0, PRINTED_WAYS[way], int(last["distance"])))
        assert solve(read) == (item.target == "Yes"), item.text
