"""The usual order of English adjectives.  In the spirit of BBH's hyperbaton."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level


class Rank(IntEnum):
    """The classes of adjectives in the order in which they stand before a noun."""

    opinion = 0
    size = 1
    age = 2
    shape = 3
    colour = 4
    origin = 5
    material = 6
    purpose = 7


def solve(phrases: Sequence[Sequence[Rank]]) -> list[int]:
    """Return the indices of the phrases whose adjectives stand in the usual order."""
    return [
        index
        for index, ranks in enumerate(phrases)
        if all(one < other for one, other in pairwise(ranks))
    ]


# No word here may pass for two of the classes.
ADJECTIVES = {
    Rank.opinion: "beautiful charming ugly splendid dreadful delightful pretty horrible",
    Rank.size: "gigantic big small tiny large immense miniature",
    Rank.age: "antique old new modern brand-new century-old",
    Rank.shape: "round oval hexagonal flat curved cylindrical conical",
    Rank.colour: "crimson turquoise beige violet scarlet brown ochre",
    Rank.origin: "Portuguese Norwegian Peruvian Kenyan Polish Korean Irish Cuban",
    Rank.material: "bamboo copper granite linen ceramic velvet marble tin",
    Rank.purpose: "sewing travelling cooking fishing gardening writing painting shaving",
}
_NOUNS = ("box", "table", "kit", "stool", "tray", "mirror", "case", "shelf", "basket", "bag", "set")
_QUESTIONS = (
    "Which phrase has its adjectives in the usual order?",
    "One of these phrases sounds right in English. Which one?",
    "Which wording would a copy editor leave as it is?",
)
# Phrases to choose from, and adjectives in each.
_SHAPES = {Level.easy: (2, 3), Level.medium: (3, 4), Level.hard: (4, 6)}


def draw(dice: Dice, level: Level) -> Item:
    """Make a phrase in the usual order and others in which two or more adjectives moved."""
    num_phrases, num_adjectives = _SHAPES[level]
    ranks = sorted(dice.sample(tuple(Rank), num_adjectives))
    words = {rank: dice.pick(ADJECTIVES[rank].split()) for rank in ranks}
    orders = [ranks]
    while len(orders) < num_phrases:
        # Hard phrases differ in one place; the others are mixed up at random.
        mixed = _one_moved(dice, ranks) if level is Level.hard else dice.shuffled(ranks)
        if mixed not in orders:
            orders.append(mixed)
    noun = dice.pick(_NOUNS)
    phrases = [" ".join(["the", *(words[rank] for rank in order), noun]) for order in orders]
    (usual,) = solve(orders)
    target = phrases.pop(usual)
    text = dice.pick(_QUESTIONS)
    return Item(text=text, target=target, wrong=tuple(phrases), source=target)


def _one_moved(dice: Dice, ranks: Sequence[Rank]) -> list[Rank]:
    moved = list(ranks)
    taken = moved.pop(dice.below(len(moved)))
    moved.insert(dice.between(0, len(moved)), taken)
    return moved
