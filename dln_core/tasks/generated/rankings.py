"""An order to be found from clues.  In the spirit of BBH's logical_deduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, reduce
from itertools import combinations, pairwise, permutations
from math import factorial
from operator import and_

import numpy as np
from numpy.typing import NDArray

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level, capitalized, listed


class Relation(StrEnum):
    """What a clue tells of the places, which count from 0."""

    at = "at"
    before = "before"
    next_to = "next_to"


@dataclass(frozen=True, slots=True)
class Clue:
    """One statement about an order.

    Attributes:
        relation: ``at``: the object has that place; ``before``: it comes earlier than the other;
            ``next_to``: it comes directly before the other.
        one: Index of an object.
        other: A place for ``at``, else the index of another object.
    """

    relation: Relation
    one: int
    other: int


def solve(num_objects: int, clues: Sequence[Clue]) -> list[tuple[int, ...]]:
    """Return every order that fits all clues, each as the objects from the first to the last."""
    fitting = _all_orders(num_objects)
    for clue in clues:
        fitting &= _orders_with(num_objects, clue)
    found = []
    while fitting:
        last = fitting.bit_length() - 1
        found.append(_orders(num_objects)[last])
        fitting ^= 1 << last
    return found[::-1]


@cache
def _orders(num_objects: int) -> list[tuple[int, ...]]:
    return list(permutations(range(num_objects)))


@cache
def _places(num_objects: int) -> NDArray[np.int8]:
    """Return the place of each object, a column, in each order, a row."""
    return np.argsort(np.array(_orders(num_objects)), axis=1).astype(np.int8)


# A set of orders is an integer with a bit for each, so that to intersect two takes no time.
def _all_orders(num_objects: int) -> int:
    return (1 << factorial(num_objects)) - 1


@cache
def _orders_with(num_objects: int, clue: Clue) -> int:
    """Return the set of orders that fit a clue."""
    places = _places(num_objects)
    if clue.relation is Relation.at:
        fits = places[:, clue.one] == clue.other
    elif clue.relation is Relation.before:
        fits = places[:, clue.one] < places[:, clue.other]
    else:
        fits = places[:, clue.one] + 1 == places[:, clue.other]
    return int.from_bytes(np.packbits(fits, bitorder="little").tobytes(), "little")


@dataclass(frozen=True, slots=True)
class _Scene:
    """Wording of an order; a pair tells the same from its first and from its last object."""

    opening: str
    objects: tuple[str, ...]
    places: tuple[str, str]
    before: tuple[str, str]
    next_to: tuple[str, str]


_ON_THE_SHELF = (
    "the teapot", "the vase", "the globe", "the radio", "the candle", "the clock", "the trophy",
    "the basket", "the lantern", "the jug", "the camera",
)  # fmt: skip
_SCENES = (
    _Scene(
        "{} stand side by side on a shelf.",
        _ON_THE_SHELF,
        ("the {nth} from the left", "the {nth} from the right"),
        ("{} is left of {}", "{} is right of {}"),
        ("{} is directly left of {}", "{} is directly right of {}"),
    ),
    _Scene(
        "{} wait in one queue.",
        PEOPLE,
        ("{nth} in the queue", "{rank}last in the queue"),
        ("{} is ahead of {}", "{} is behind {}"),
        ("{} is directly ahead of {}", "{} is directly behind {}"),
    ),
    _Scene(
        "{} run a race, each at another speed.",
        PEOPLE,
        ("the {nth} to finish", "the {rank}last to finish"),
        ("{} finishes before {}", "{} finishes after {}"),
        ("{} is the last to finish before {} does", "{} is the first to finish after {} has"),
    ),
    _Scene(
        "{} are cousins, no two of the same age.",
        PEOPLE,
        ("the {rank}youngest", "the {rank}oldest"),
        ("{} is younger than {}", "{} is older than {}"),
        ("Of those younger than {other}, {one} is the oldest",
         "Of those older than {one}, {other} is the youngest"),
    ),
)  # fmt: skip
_NTH = ("first", "second", "third", "fourth")
# Objects; and whether clues tell of neighbours.
_SHAPES = {Level.easy: (3, False), Level.medium: (5, False), Level.hard: (7, True)}


def draw(dice: Dice, level: Level) -> Item:
    """Make clues that leave one order, none of them superfluous."""
    num_objects, has_neighbours = _SHAPES[level]
    scene = dice.pick(_SCENES)
    names = dice.sample(scene.objects, num_objects)
    clues = _clues(dice, dice.shuffled(range(num_objects)), has_neighbours=has_neighbours)
    (order,) = solve(num_objects, clues)
    asked = dice.below(num_objects)
    sentences = [
        scene.opening.format(listed(names)),
        *(f"{_told(dice, scene, names, clue)}." for clue in clues),
        f"Which of them is {_place(dice, scene, asked, num_objects)}?",
    ]
    return Item(
        text=" ".join(map(capitalized, sentences)),
        target=names[order[asked]],
        wrong=tuple(names[index] for index in order if index != order[asked]),
        source=repr(sorted(_bare(names, clue) for clue in clues)),
    )


def _bare(names: Sequence[str], clue: Clue) -> tuple[str, ...]:
    other = str(clue.other) if clue.relation is Relation.at else names[clue.other]
    return clue.relation.value, names[clue.one], other


def _clues(dice: Dice, order: Sequence[int], *, has_neighbours: bool) -> list[Clue]:
    """Draw true clues until a single order is left, then drop those that are not needed."""
    num_objects = len(order)
    pool = [Clue(Relation.before, one, other) for one, other in combinations(order, 2)]
    told_places = dice.sample(range(num_objects), num_objects // 3)
    pool += [Clue(Relation.at, order[place], place) for place in told_places]
    if has_neighbours:
        pool += [Clue(Relation.next_to, one, other) for one, other in pairwise(order)]
    fitting = everything = _all_orders(num_objects)
    taken: dict[Clue, int] = {}
    for clue in dice.shuffled(pool):
        with_clue = _orders_with(num_objects, clue)
        if fitting & with_clue != fitting:
            fitting &= with_clue
            taken[clue] = with_clue
    for clue, with_clue in list(taken.items()):
        del taken[clue]
        if reduce(and_, taken.values(), everything) != fitting:
            taken[clue] = with_clue
    return list(taken)


def _told(dice: Dice, scene: _Scene, names: Sequence[str], clue: Clue) -> str:
    one = names[clue.one]
    if clue.relation is Relation.at:
        return f"{one} is {_place(dice, scene, clue.other, len(names))}"
    other = names[clue.other]
    forward, backward = scene.before if clue.relation is Relation.before else scene.next_to
    if dice.chance(50):
        return forward.format(one, other, one=one, other=other)
    return backward.format(other, one, one=one, other=other)


def _place(dice: Dice, scene: _Scene, place: int, num_objects: int) -> str:
    """Name a place, counted from its nearer end."""
    from_end = num_objects - 1 - place
    is_late = from_end < place or (from_end == place and dice.chance(50))
    nth = _NTH[min(place, from_end)]
    return scene.places[is_late].format(nth=nth, rank="" if nth == "first" else f"{nth}-")
