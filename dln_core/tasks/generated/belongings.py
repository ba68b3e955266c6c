"""Counting the things of a kind among others.  In the spirit of BBH's object_counting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level, listed


@dataclass(frozen=True, slots=True)
class Things:
    """So many things of one sort, and the kind that they belong to."""

    sort: str
    kind: str
    count: int


def solve(things: Sequence[Things], asked: Collection[str]) -> int:
    """Return how many of the things are of a kind that is asked for."""
    return sum(some.count for some in things if some.kind in asked)


# Nothing here may pass for two of the kinds.
KINDS = {
    "tools": "hammer saw chisel screwdriver spanner drill rasp mallet",
    "garments": "shirt jumper blouse skirt waistcoat pullover cardigan jacket",
    "birds": "sparrow heron magpie starling swallow woodpecker gull blackbird",
    "flowers": "tulip daffodil orchid peony/peonies carnation marigold crocus/crocuses violet",
    "coins": "penny/pennies dime nickel farthing florin ducat guinea groschen/groschen",
    "vehicles": "lorry/lorries tractor bicycle tram minibus/minibuses van scooter taxi",
    "insects": "beetle moth wasp cricket ant grasshopper dragonfly/dragonflies earwig",
    "books": "dictionary/dictionaries atlas/atlases cookbook novel hymnal thesaurus/thesauruses "
    "textbook songbook",
}
NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_OPENINGS = (
    "{name}'s shop window shows {things}.",
    "{name} has painted a picture. It shows {things}.",
    "For the raffle, {name} has cut out pictures of {things}.",
    "{name}'s box of toys holds {things}.",
    "On {name}'s sheet of stickers are {things}.",
)
_QUESTIONS = (
    "How many of these are {kinds}?",
    "Altogether, how many things are {kinds}?",
    "What is the number of things that are {kinds}?",
)
# Sorts of things, kinds among them, kinds asked for, and the most things of a sort.
_SHAPES = {
    Level.easy: (4, 2, 1, 4),
    Level.medium: (8, 3, 1, 8),
    Level.hard: (14, 5, 2, 12),
}


def draw(dice: Dice, level: Level) -> Item:
    """Make a collection of things of several kinds, and ask for some of the kinds."""
    num_sorts, num_kinds, num_asked, most = _SHAPES[level]
    kinds = dice.sample(tuple(KINDS), num_kinds)
    sorts = {kind: dice.shuffled(KINDS[kind].split()) for kind in kinds}
    # Every kind has a sort of its own, so that what is asked for is there.
    chosen = [(sorts[kind][0], kind) for kind in kinds]
    others = [(sort, kind) for kind in kinds for sort in sorts[kind][1:]]
    chosen += dice.sample(others, num_sorts - num_kinds)
    things = [Things(sort, kind, dice.between(1, most)) for sort, kind in dice.shuffled(chosen)]
    asked = kinds[:num_asked]
    opening = dice.pick(_OPENINGS).format(
        name=dice.pick(PEOPLE), things=listed([_told(some) for some in things])
    )
    question = dice.pick(_QUESTIONS).format(kinds=" or ".join(asked))
    return Item(
        text=f"{opening} {question}",
        target=str(solve(things, asked)),
        source=repr((things, asked)),
    )


def _told(some: Things) -> str:
    singular, _, plural = some.sort.partition("/")
    if some.count == 1:
        article = "an" if singular[0] in "aeiou" else "a"
        return f"{article} {singular}"
    return f"{NUMBERS[some.count - 1]} {plural or singular + 's'}"
