"""Who tells the truth, if each speaks of another?  In the spirit of BBH's web_of_lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level


@dataclass(frozen=True, slots=True)
class Claim:
    """What one person says of another; without a speaker, it is a fact.

    Attributes:
        speaker: Who says it; empty for a fact.
        person: Whom it is about.
        is_honest: Whether that person is said to tell the truth.
    """

    speaker: str
    person: str
    is_honest: bool


def solve(claims: Sequence[Claim], asked: str) -> bool:
    """Tell whether the person asked for tells the truth.

    Args:
        claims: Facts and claims, in any order; each person but those of the facts speaks once.
        asked: A person.
    """
    honest = {claim.person: claim.is_honest for claim in claims if not claim.speaker}
    spoken = {claim.speaker: claim for claim in claims if claim.speaker}
    chain = [asked]
    while chain[-1] not in honest:
        chain.append(spoken[chain[-1]].person)
    for speaker in reversed(chain[:-1]):
        claim = spoken[speaker]
        honest[speaker] = honest[claim.person] == claim.is_honest
    return honest[asked]


_OPENINGS = (
    "In this village, everybody either always tells the truth or always lies.",
    "Each guest at the table is either an honest soul, who only says what is true, or a liar, who "
    "never does.",
    "Of these people, some never lie and the others never say a true word.",
)
_FACTS = {
    True: ("{} always tells the truth.", "It is certain that {} never lies."),
    False: ("{} always lies.", "It is certain that {} never tells the truth."),
}
_CLAIMS = {
    True: ("{} says that {} tells the truth.", "{} calls {} honest.", "{} claims: {} never lies."),
    False: ("{} says that {} lies.", "{} calls {} a liar.", "{} claims: {} never tells the truth."),
}
_QUESTIONS = ("Does {} tell the truth?", "Is {} someone who tells the truth?")
# People in the chain that decides, and beside it.
_SHAPES = {Level.easy: (3, 0), Level.medium: (5, 0), Level.hard: (7, 3)}


def draw(dice: Dice, level: Level) -> Item:
    """Make a chain of claims; hard ones have side branches, and their order is mixed."""
    length, num_aside = _SHAPES[level]
    people = dice.sample(PEOPLE, length + num_aside)
    chain, aside = people[:length], people[length:]
    claims = [Claim("", chain[0], dice.chance(50))]
    for known, speaker in pairwise(chain):
        claims.append(Claim(speaker, known, dice.chance(50)))
    claims += [Claim(speaker, dice.pick(chain), dice.chance(50)) for speaker in aside]
    if level is Level.hard:
        claims = dice.shuffled(claims)
    asked = chain[-1]
    told = [_told(dice, claim) for claim in claims]
    text = " ".join([dice.pick(_OPENINGS), *told, dice.pick(_QUESTIONS).format(asked)])
    return Item(
        text=text,
        target="Yes" if solve(claims, asked) else "No",
        source=repr((sorted(map(repr, claims)), asked)),
    )


def _told(dice: Dice, claim: Claim) -> str:
    if not claim.speaker:
        return dice.pick(_FACTS[claim.is_honest]).format(claim.person)
    return dice.pick(_CLAIMS[claim.is_honest]).format(claim.speaker, claim.person)
