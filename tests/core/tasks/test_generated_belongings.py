"""Belongings: the solver against BBH's object_counting and against the printed text."""

from __future__ import annotations

import re

import pytest

from dln_core.tasks.generated.belongings import KINDS, NUMBERS, Things, draw, solve
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import bbh_items

COUNTS = {word: number for number, word in enumerate(NUMBERS, start=1)} | {"a": 1, "an": 1}
KINDS_OF_BBH = {
    "fruits": "apple banana blackberry blackberries grape nectarine orange peach plum raspberry "
    "raspberries strawberry strawberries",
    "vegetables": "broccoli cabbage carrot cauliflower celery garlic lettuce onion potato yam",
    "animals": "bear cat chicken cow dog donkey duck fish frog goat mouse mice pig rabbit snail "
    "snake",
    "musical instruments": "accordion clarinet drum flute piano trombone trumpet violin",
    "objects": "bed car chair couch fridge lamp microwave oven stove table toaster",
}
KIND_OF_WORD = {
    word + ending: kind
    for kind, words in KINDS_OF_BBH.items()
    for word in words.split()
    for ending in ("", "s", "es")
}


def parse(text: str) -> tuple[list[Things], set[str]]:
    """Read an item of BBH's object_counting; everything is an object."""
    listing, asked = re.fullmatch(r"I have (.*)\. How many (.*) do I have\?", text).groups()
    things = []
    for part in re.split(r", and |, | and ", listing):
        number, _, sort = part.partition(" ")
        # A "lettuce head" and a "stalk of celery" are known by one of their words.
        (kind,) = (KIND_OF_WORD[word] for word in sort.split() if word in KIND_OF_WORD)
        things.append(Things(sort, kind, COUNTS[number]))
    return things, set(KINDS_OF_BBH) if asked == "objects" else {asked}


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "object_counting"):
        assert str(solve(*parse(text))) == gold, text


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_things(level):
    plurals = {
        form: kind
        for kind, sorts in KINDS.items()
        for singular, _, plural in (sort.partition("/") for sort in sorts.split())
        for form in (singular, plural or f"{singular}s")
    }
    pattern = re.compile(rf"\b({'|'.join(COUNTS)}) ({'|'.join(sorted(plurals))})\b")
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        found = pattern.findall(item.text)
        asked = re.search(r"(\w+)(?: or (\w+))?\?$", item.text)
        kinds = [kind for kind in asked.groups() if kind]
        wanted = sum(COUNTS[number] for number, sort in found if plurals[sort] in kinds)
        assert str(wanted) == item.target, item.text
        assert 0 < wanted < sum(COUNTS[number] for number, _ in found)


def test_no_thing_is_of_two_kinds():
    sorts = [sort for kind in KINDS.values() for sort in kind.split()]
    assert len(set(sorts)) == len(sorts)
