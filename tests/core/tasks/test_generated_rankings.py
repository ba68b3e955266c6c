"""Rankings: the solver against BBH's logical_deduction and against plain enumeration."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from dln_core.tasks.generated.rankings import Clue, Relation, draw, solve
from tests.core.tasks.bbh_items import bbh_items, options_of

# The first place is the leftmost, the oldest, the cheapest, the winner's.
FIRST = r"from the left|oldest|cheapest|leftmost"
LAST = r"from the right|newest|most expensive|rightmost|-to-last|last"
NTH = ("second", "third", "fourth", "fifth", "sixth", "seventh")
EARLIER = r"to the left of|older than|less expensive than|finished above"
LATER = r"to the right of|newer than|more expensive than|finished below"


def place_of(words: str, size: int) -> int:
    """Read a place such as "the second from the left", counted from 0."""
    steps = next((n for n, nth in enumerate(NTH, start=1) if nth in words), 0)
    if re.search(LAST, words):
        return size - 1 - steps
    assert steps or re.search(rf"{FIRST}|first", words), words
    return steps


def parse(text: str) -> tuple[list[str], list[Clue], int, dict[str, str]]:
    """Read an item of BBH's logical_deduction.

    Returns:
        The objects, the clues, the place asked for, and the object of each option.
    """
    options = options_of(text)
    subjects = {
        letter: re.match(r"(.*?) (?:is|are|finished) ", option)[1].lower()
        for letter, option in options.items()
    }
    objects = list(subjects.values())
    (asked,) = {
        place_of(option[len(subjects[letter]) :], len(objects))
        for letter, option in options.items()
    }
    statements = text.partition("\nOptions:")[0].split(": ", maxsplit=1)[1].split(". ")[1:]
    return objects, [clue_of(s.lower().rstrip("."), objects) for s in statements], asked, subjects


def clue_of(statement: str, objects: list[str]) -> Clue:
    """Read a statement about one or two objects."""
    (one,) = (index for index, name in enumerate(objects) if statement.startswith(f"{name} "))
    rest = statement[len(objects[one]) :]
    if re.search(f"{EARLIER}|{LATER}", rest):
        (other,) = (index for index, name in enumerate(objects) if rest.endswith(f" {name}"))
        pair = (one, other) if re.search(EARLIER, rest) else (other, one)
        return Clue(Relation.before, *pair)
    return Clue(Relation.at, one, place_of(rest, len(objects)))


@pytest.mark.parametrize("number", ["three", "five", "seven"])
def test_the_solver_agrees_with_every_gold_answer(data_dir, number):
    for text, gold in bbh_items(data_dir, f"logical_deduction_{number}_objects"):
        objects, clues, asked, subjects = parse(text)
        possible = {objects[order[asked]] for order in solve(len(objects), clues)}
        assert possible == {subjects[gold]}, text


def holds(clue: Clue, order: tuple[int, ...]) -> bool:
    place = order.index(clue.one)
    if clue.relation is Relation.at:
        return place == clue.other
    other = order.index(clue.other)
    return place < other if clue.relation is Relation.before else place == other - 1


@given(st.integers(3, 5), st.data())
def test_the_orders_found_are_all_that_fit(size, data):
    number = st.integers(0, size - 1)
    clues = data.draw(st.lists(st.builds(Clue, st.sampled_from(Relation), number, number)))
    brute = [o for o in permutations(range(size)) if all(holds(clue, o) for clue in clues)]
    assert solve(size, clues) == brute


BEFORE = r"left of|ahead of|finishes before|younger than"
AFTER = r"right of|behind|finishes after|older than"
NEXT = (
    (r"(.*) is directly (?:left of|ahead of) (.*)", 1, 2),
    (r"(.*) is directly (?:right of|behind) (.*)", 2, 1),
    (r"(.*) is the last to finish before (.*) does", 1, 2),
    (r"(.*) is the first to finish after (.*) has", 2, 1),
    (r"Of those younger than (.*), (.*) is the oldest", 2, 1),
    (r"Of those older than (.*), (.*) is the youngest", 1, 2),
)


def printed_place(words: str, size: int) -> int:
    steps = next((n for n, nth in enumerate(NTH, start=1) if nth in words), 0)
    return size - 1 - steps if re.search(r"right|last|oldest", words) else steps


def printed_clue(sentence: str, objects: list[str]) -> Clue:
    for pattern, earlier, later in NEXT:
        if found := re.fullmatch(pattern, sentence):
            return Clue(
                Relation.next_to, objects.index(found[earlier]), objects.index(found[later])
            )
    if found := re.fullmatch(rf"(.*?) (?:is )?(?:({BEFORE})|{AFTER}) (.*)", sentence):
        one, other = objects.index(found[1]), objects.index(found[3])
        return Clue(Relation.before, *((one, other) if found[2] else (other, one)))
    name, words = re.fullmatch(r"(.*) is (.*)", sentence).groups()
    return Clue(Relation.at, objects.index(name), printed_place(words, len(objects)))


@pytest.mark.parametrize("level", Level)
def test_the_clues_as_printed_leave_one_order_and_none_is_superfluous(level):
    dice = Dice(1, "text")
    for _ in range(60):
        item = draw(dice, level)
        objects = [*item.wrong, item.target]
        story = item.text.replace(". The ", ". the ")
        _, *statements, question = story.split(". ")
        clues = [printed_clue(sentence, objects) for sentence in statements]
        (order,) = solve(len(objects), clues)
        asked = printed_place(question, len(objects))
        assert objects[order[asked]] == item.target, item.text
        for clue in clues:
            assert len(solve(len(objects), [c for c in clues if c is not clue])) > 1
