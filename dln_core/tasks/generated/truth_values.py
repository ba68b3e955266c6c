"""Logical formulas over facts that are told.  In the spirit of BBH's boolean_expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level, capitalized, listed


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula: ``not`` of one part, ``and`` or ``or`` of several, or a bare ``name``.

    Attributes:
        operator: ``not``, ``and``, ``or``, or the name of a fact.
        parts: What the operator combines; empty for a name.
    """

    operator: str
    parts: tuple[Formula, ...] = ()


def solve(formula: Formula, facts: Mapping[str, bool]) -> bool:
    """Return the value of the formula where each name has the value that is told."""
    values = [solve(part, facts) for part in formula.parts]
    if not values:
        return facts[formula.operator]
    if formula.operator == "not":
        return not values[0]
    return all(values) if formula.operator == "and" else any(values)


def printed(formula: Formula) -> str:
    """Print the formula with all brackets that it needs, and no others."""
    if not formula.parts:
        return formula.operator
    texts = [_enclosed(formula, part) for part in formula.parts]
    return f"not {texts[0]}" if formula.operator == "not" else f" {formula.operator} ".join(texts)


_BINDING = {"or": 1, "and": 2, "not": 3}


def _enclosed(whole: Formula, part: Formula) -> str:
    text = printed(part)
    is_looser = _BINDING.get(part.operator, 4) < _BINDING[whole.operator]
    return f"({text})" if is_looser else text


# How a scene names its facts, and the two ways that each can be.
_SCENES = (
    ("On a control panel,", "on", "off", "the {} lamp is {}", "{} lamp on"),
    ("At the regatta,", "raised", "lowered", "the {} flag is {}", "{} flag raised"),
    ("In the cellar,", "open", "closed", "the {} valve is {}", "{} valve open"),
    ("On the hook board,", "there", "missing", "the {} key is {}", "{} key there"),
)
_COLOURS = ("red", "blue", "green", "white", "black", "yellow", "purple", "orange")
_NAME = re.compile("|".join(_COLOURS))
_NUM_NAMES = {Level.easy: 3, Level.medium: 4, Level.hard: 6}


def draw(dice: Dice, level: Level) -> Item:
    """Make a formula in which every fact that is told occurs, and some occur twice."""
    names = dice.sample(_COLOURS, _NUM_NAMES[level])
    facts = {name: dice.chance(50) for name in names}
    formula = _formula(dice, dice.shuffled([*names, *dice.sample(names, len(names) // 2)]))
    place, yes, no, told, leaf = dice.pick(_SCENES)
    state = listed([told.format(name, yes if facts[name] else no) for name in names])
    bare = printed(formula)
    rule = _NAME.sub(lambda name: leaf.format(name[0]), bare)
    text = dice.pick(
        (
            f"{place} {state}. True or False: {rule}?",
            f"{capitalized(state)}. Evaluate this condition: {rule}.",
            f"Condition: {rule}. {place} {state}. What is the value of the condition?",
        )
    )
    source = f"{bare} | {sorted(facts.items())}"
    return Item(text=text, target=str(solve(formula, facts)), source=source)


def _formula(dice: Dice, names: list[str]) -> Formula:
    """Make a formula out of the names in their order."""
    formula = Formula(names[0])
    if len(names) > 1:
        cut = dice.between(1, len(names) - 1)
        parts = (_formula(dice, names[:cut]), _formula(dice, names[cut:]))
        formula = _combined(dice.pick(("and", "or")), parts)
    return Formula("not", (formula,)) if dice.chance(30) else formula


def _combined(operator: str, parts: tuple[Formula, ...]) -> Formula:
    """Combine the parts, without brackets that say nothing and without saying a part twice."""
    different: list[Formula] = []
    for part in parts:
        for each in part.parts if part.operator == operator else (part,):
            if each not in different:
                different.append(each)
    return Formula(operator, tuple(different)) if len(different) > 1 else different[0]
