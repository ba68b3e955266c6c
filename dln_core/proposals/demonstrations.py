"""The kind that shows other worked examples and leaves the instruction alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dln_core.proposals.plans import Material, Plan
from dln_core.types import Demonstration, Prompt

Demonstrations = tuple[Demonstration, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """A parent's instruction with worked examples drawn anew or changed a little.

    Each candidate takes one of the operators that apply to its parent, with equal probability:
    ``redraw`` (all anew), ``errors`` (all anew, inputs that went wrong first), ``add``, ``swap``
    or ``drop`` (one or two of them).
    """

    def is_possible(self, material: Material) -> bool:
        """Tell whether there are worked examples to show and room for one."""
        return bool(material.evidence.shots) and material.config.max_demonstrations > 0

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates; nothing has to be written for them."""
        return [Plan(base=_changed(material, material.parent(rng), rng)) for _ in range(count)]


def balanced(
    shots: Sequence[Demonstration],
    count: int,
    rng: np.random.Generator,
    preferred: Collection[str] = frozenset(),
) -> list[Demonstration]:
    """Draw worked examples without replacement, taking the outputs in turn.

    Args:
        shots: What is drawn from.
        count: How many; fewer if there are no more.
        rng: The order.
        preferred: Inputs that come before others of the same output, and in each turn.
    """
    order = [shots[position] for position in rng.permutation(len(shots))]
    by_output: dict[str, list[Demonstration]] = {}
    # Groups are emptied from their end, so what is preferred goes last.
    for shot in sorted(order, key=lambda shot: shot.input in preferred):
        by_output.setdefault(shot.output, []).append(shot)
    groups = list(by_output.values())
    drawn: list[Demonstration] = []
    while groups and len(drawn) < count:
        turn = rng.permutation(len(groups))
        for position in sorted(turn, key=lambda i: groups[i][-1].input not in preferred):
            if len(drawn) < count:
                drawn.append(groups[position].pop())
        groups = [group for group in groups if group]
    return drawn


def applicable(material: Material, parent: Prompt) -> list[str]:
    """Names of the operators that can change a parent's worked examples within the bounds."""
    shots, num_shown = material.evidence.shots, len(parent.demonstrations)
    most = material.config.max_demonstrations
    wrong = _wrong_inputs(material)
    has_others = bool(_others(shots, parent.demonstrations))
    applies = {
        "redraw": True,
        "errors": any(shot.input in wrong for shot in shots),
        "add": 0 < num_shown < most and has_others,
        "swap": 0 < num_shown <= most and has_others,
        "drop": num_shown > 1,
    }
    return [name for name, is_possible in applies.items() if is_possible]


def _changed(material: Material, parent: Prompt, rng: np.random.Generator) -> Prompt:
    operators = applicable(material, parent)
    operator = operators[int(rng.integers(len(operators)))]
    shown, shots = parent.demonstrations, material.evidence.shots
    if operator in ("redraw", "errors"):
        preferred = _wrong_inputs(material) if operator == "errors" else frozenset()
        return replace(parent, demonstrations=_redrawn(material, preferred, rng))
    number = int(rng.integers(1, 3))
    if operator == "add":
        room = material.config.max_demonstrations - len(shown)
        return replace(parent, demonstrations=_added(shown, shots, min(number, room), rng))
    if operator == "swap":
        return replace(parent, demonstrations=_swapped(shown, shots, number, rng))
    number = min(number, len(shown) - 1)
    kept = sorted(rng.permutation(len(shown))[number:])
    return replace(parent, demonstrations=tuple(shown[position] for position in kept))


def _redrawn(
    material: Material, preferred: Collection[str], rng: np.random.Generator
) -> Demonstrations:
    low, high = material.config.min_demonstrations, material.config.max_demonstrations
    count = int(rng.integers(max(1, low), high + 1))
    drawn = balanced(material.evidence.shots, count, rng, preferred)
    return tuple(drawn[position] for position in rng.permutation(len(drawn)))


def _added(
    shown: Demonstrations, shots: Demonstrations, number: int, rng: np.random.Generator
) -> Demonstrations:
    longer = list(shown)
    for shot in balanced(_others(shots, shown), number, rng):
        longer.insert(int(rng.integers(len(longer) + 1)), shot)
    return tuple(longer)


def _swapped(
    shown: Demonstrations, shots: Demonstrations, number: int, rng: np.random.Generator
) -> Demonstrations:
    changed = list(shown)
    fresh = balanced(_others(shots, shown), number, rng)
    # Fewer places than fresh ones, or the reverse: what is left over stays as it was.
    for position, shot in zip(rng.permutation(len(shown)), fresh, strict=False):
        changed[position] = shot
    return tuple(changed)


def _others(shots: Sequence[Demonstration], shown: Sequence[Demonstration]) -> Demonstrations:
    """Worked examples of inputs that are not shown yet."""
    inputs = {demonstration.input for demonstration in shown}
    return tuple(shot for shot in shots if shot.input not in inputs)


def _wrong_inputs(material: Material) -> frozenset[str]:
    return frozenset(case.body for case in material.evidence.cases if not case.is_right)
