"""Walks: does the path end where it began?  In the spirit of BBH's navigate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level, capitalized

AHEAD, LEFT, BACK, RIGHT = range(4)


@dataclass(frozen=True, slots=True)
class Step:
    """A turn, then a straight move.

    Attributes:
        turn: Quarter turns to the left before the move.
        direction: Where the move goes, in quarter turns to the left of where the walker looks.
        distance: Length of the move; 0 for a turn on the spot.
    """

    turn: int
    direction: int
    distance: int


def position(steps: Sequence[Step]) -> complex:
    """Return where the walk ends: the start is 0, and the walker first looks along 1."""
    place, heading = 0j, 0
    for step in steps:
        heading += step.turn
        place += step.distance * 1j ** ((heading + step.direction) % 4)
    return place


def solve(steps: Sequence[Step]) -> bool:
    """Tell whether the walk ends where it began."""
    return position(steps) == 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """Wording of a walk.

    Attributes:
        opening: Who walks.
        unit: One, and several, units of length.
        moves: A move in each direction; only one ahead if the walker turns.
        turns: Each turn; empty if the walker always looks the same way.
        question: Asks whether the walk returns.
    """

    opening: str
    unit: tuple[str, str]
    moves: tuple[str, ...]
    turns: tuple[str, ...]
    question: str


_SCENES = (
    _Scene(
        "A robot stands on a tiled floor.",
        ("tile", "tiles"),
        ("roll {n} forward",),
        ("", "spin a quarter to the left", "spin half way round", "spin a quarter to the right"),
        "Is the robot back on its first tile?",
    ),
    _Scene(
        "A pirate's note says how to walk from the old palm tree.",
        ("pace", "paces"),
        ("walk {n}",),
        ("", "turn to your left", "turn to face the other way", "turn to your right"),
        "Does the note lead back to the palm tree?",
    ),
    _Scene(
        "A postman leaves the post office and looks up the road.",
        ("block", "blocks"),
        ("he goes straight on for {n}",),
        ("", "he takes a left turn", "he makes an about-turn", "he takes a right turn"),
        "Is the postman at the post office again?",
    ),
    _Scene(
        "A boat leaves its buoy.",
        ("mile", "miles"),
        ("sail {n} north", "sail {n} west", "sail {n} south", "sail {n} east"),
        (),
        "Has the boat come back to its buoy?",
    ),
    _Scene(
        "A crane's hook hangs above a mark and is moved without being turned.",
        ("metre", "metres"),
        ("move it {n} away", "move it {n} left", "move it {n} nearer", "move it {n} right"),
        (),
        "Does the hook hang above its mark again?",
    ),
    _Scene(
        "A dancer looks at the audience throughout.",
        ("step", "steps"),
        ("she takes {n} forward", "she takes {n} to her left", "she takes {n} backward",
         "she takes {n} to her right"),
        (),
        "Does she end where she began?",
    ),
)  # fmt: skip
# Fewest and most moves before the way back, and the longest of them.
_SHAPES = {Level.easy: (2, 3, 6), Level.medium: (3, 5, 9), Level.hard: (7, 10, 12)}


def draw(dice: Dice, level: Level) -> Item:
    """Make a walk that returns, or one that would if a single move were a little longer."""
    fewest, most, longest = _SHAPES[level]
    scene = dice.pick(_SCENES)
    num_moves = dice.between(fewest, most)
    if not scene.turns:
        steps = [Step(0, dice.below(4), dice.between(1, longest)) for _ in range(num_moves)]
        steps = dice.shuffled(steps + _way_back(steps, turning=False))
    else:
        steps = [Step(dice.below(4), AHEAD, dice.between(1, longest)) for _ in range(num_moves)]
        steps += _way_back(steps, turning=True)
    if dice.chance(50):
        place = dice.below(len(steps))
        longer = steps[place].distance + dice.between(1, 2)
        steps[place] = replace(steps[place], distance=longer)
    return Item(
        text=_told(scene, steps), target="Yes" if solve(steps) else "No", source=repr(steps)
    )


def _way_back(steps: Sequence[Step], *, turning: bool) -> list[Step]:
    """Return one or two moves along the axes that lead back to the start."""
    place = position(steps)
    heading = sum(step.turn for step in steps)
    moves = []
    for excess, against, along in ((place.real, BACK, AHEAD), (place.imag, RIGHT, LEFT)):
        if excess:
            way, distance = (against if excess > 0 else along), int(abs(excess))
            turn = Step((way - heading) % 4, AHEAD, distance)
            moves.append(turn if turning else Step(0, way, distance))
            heading = way
    return moves


def _told(scene: _Scene, steps: Sequence[Step]) -> str:
    sentences = [scene.opening]
    for step in steps:
        if step.turn:
            sentences.append(f"{capitalized(scene.turns[step.turn])}.")
        length = f"{step.distance} {scene.unit[step.distance != 1]}"
        sentences.append(f"{capitalized(scene.moves[step.direction].format(n=length))}.")
    return " ".join([*sentences, scene.question])
