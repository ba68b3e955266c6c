"""Who holds what after the swaps?  In the spirit of BBH's tracking_shuffled_objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level, listed


@dataclass(frozen=True, slots=True)
class Exchange:
    """A group of owners and what happens to what they hold.

    Attributes:
        held: Owner and thing, at the start.
        swaps: Pairs of owners who swap what they then hold, one pair after the other.
    """

    held: tuple[tuple[str, str], ...]
    swaps: tuple[tuple[str, str], ...]


def solve(exchange: Exchange, asked: str) -> str:
    """Return what the owner asked for holds at the end."""
    holds = dict(exchange.held)
    for one, other in exchange.swaps:
        holds[one], holds[other] = holds[other], holds[one]
    return holds[asked]


@dataclass(frozen=True, slots=True)
class _Scene:
    opening: str
    start: str
    things: tuple[str, ...]
    swaps: tuple[str, ...]
    question: str


_SCENES = (
    _Scene(
        "{people} have rented allotments side by side.",
        "{} grows {}",
        ("beans", "carrots", "leeks", "pumpkins", "radishes", "spinach", "tomatoes", "turnips"),
        ("{} and {} exchange their plots, plants and all.", "{} trades plots with {}."),
        "Which plants stand on {}'s plot in the end?",
    ),
    _Scene(
        "{people} leave a party in the rain.",
        "{} takes {}",
        (
            "the striped umbrella",
            "the checked umbrella",
            "the dotted umbrella",
            "the tartan umbrella",
            "the paper umbrella",
            "the silk umbrella",
            "the torn umbrella",
            "the folding umbrella",
        ),
        ("On the way, {} and {} swap umbrellas.", "{} swaps umbrellas with {}."),
        "Which umbrella does {} bring home?",
    ),
    _Scene(
        "{people} sing in a choir and draw lots for their songs.",
        "{} draws {}",
        ("the waltz", "the lullaby", "the march", "the tango", "the anthem", "the ballad",
         "the polka", "the shanty"),
        ("{} and {} exchange songs.", "{} trades songs with {}."),
        "Which song does {} sing at last?",
    ),
    _Scene(
        "{people} share the night watches on a ship.",
        "{} has {}",
        ("the first watch", "the second watch", "the third watch", "the fourth watch",
         "the fifth watch", "the sixth watch", "the seventh watch", "the dog watch"),
        ("{} and {} swap watches.", "{} trades watches with {}."),
        "Which watch does {} keep in the end?",
    ),
)  # fmt: skip
# Owners, and swaps.
_SHAPES = {Level.easy: (3, 3), Level.medium: (5, 5), Level.hard: (7, 10)}


def draw(dice: Dice, level: Level) -> Item:
    """Make an exchange in which the owner asked for swaps at least once."""
    num_owners, num_swaps = _SHAPES[level]
    scene = dice.pick(_SCENES)
    owners = dice.sample(PEOPLE, num_owners)
    things = dice.sample(scene.things, num_owners)
    exchange = Exchange(tuple(zip(owners, things, strict=True)), _swaps(dice, owners, num_swaps))
    asked = dice.pick([owner for swap in exchange.swaps for owner in swap])
    sentences = [
        scene.opening.format(people=listed(owners)),
        f"{listed([scene.start.format(*pair) for pair in exchange.held])}.",
        *(dice.pick(scene.swaps).format(*swap) for swap in exchange.swaps),
        scene.question.format(asked),
    ]
    target = solve(exchange, asked)
    return Item(
        text=" ".join(sentences),
        target=target,
        wrong=tuple(thing for thing in things if thing != target),
        source=repr(exchange),
    )


def _swaps(dice: Dice, owners: Sequence[str], count: int) -> tuple[tuple[str, str], ...]:
    """Draw pairs; none undoes the one before it."""
    swaps: list[tuple[str, str]] = []
    while len(swaps) < count:
        one, other = dice.sample(owners, 2)
        if not swaps or {one, other} != set(swaps[-1]):
            swaps.append((one, other))
    return tuple(swaps)
