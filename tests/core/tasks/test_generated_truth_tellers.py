"""Truth tellers: the solver against BBH's web_of_lies and against all ways that people can be."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from dln_core.tasks.generated.truth_tellers import Claim, draw, solve
from tests.core.tasks.bbh_items import bbh_items


def parse(text: str) -> tuple[list[Claim], str]:
    """Read an item of BBH's web_of_lies."""
    story, _, question = text.removeprefix("Question: ").rpartition(". ")
    claims = []
    for sentence in story.split(". "):
        found = re.fullmatch(r"(?:(\w+) says )?(\w+) (tells the truth|lies)", sentence)
        claims.append(Claim(found[1] or "", found[2], found[3] != "lies"))
    return claims, re.fullmatch(r"Does (\w+) tell the truth\?", question)[1]


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "web_of_lies"):
        assert solve(*parse(text)) == (gold == "Yes"), text


def consistent_answers(claims: list[Claim], asked: str) -> set[bool]:
    """Try who may be honest, and return what follows for the person asked for."""
    people = sorted({name for c in claims for name in (c.speaker, c.person) if name})
    answers = set()
    for values in product((False, True), repeat=len(people)):
        honest = dict(zip(people, values, strict=True))
        if all(
            (honest[c.person] == c.is_honest) == (honest[c.speaker] if c.speaker else True)
            for c in claims
        ):
            answers.add(honest[asked])
    return answers


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6), st.data())
def test_the_answer_is_the_only_one_without_a_contradiction(links, data):
    claims = [Claim("", "p0", links[0][1])]
    for number, (about, is_honest) in enumerate(links[1:], start=1):
        claims.append(Claim(f"p{number}", f"p{about % number}", is_honest))
    claims = data.draw(st.permutations(claims))
    asked = f"p{data.draw(st.integers(0, len(links) - 1))}"
    assert consistent_answers(claims, asked) == {solve(claims, asked)}


FACT = re.compile(r"(?:It is certain that )?(\w+) (always|never) (tells the truth|lies)")
CLAIM = re.compile(
    r"(\w+) (?:says that|calls|claims:) (\w+) "
    r"(?:(tells the truth|never lies|honest)|lies|never tells the truth|a liar)"
)


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_claims(level):
    dice = Dice(1, "text")
    for _ in range(100):
        item = draw(dice, level)
        *story, question = re.split(r"(?<=\.) ", item.text)
        claims = []
        for sentence in story[1:]:
            if found := CLAIM.fullmatch(sentence.rstrip(".")):
                claims.append(Claim(found[1], found[2], bool(found[3])))
            else:
                name, often, deed = FACT.fullmatch(sentence.rstrip(".")).groups()
                claims.append(Claim("", name, (often == "always") == (deed != "lies")))
        asked = re.match(r"(?:Does|Is) (\w+) ", question)[1]
        assert consistent_answers(claims, asked) == {item.target == "Yes"}, item.text
