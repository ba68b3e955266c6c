"""Nested sums and products.  In the spirit of BBH's multistep_arithmetic_two."""

from __future__ import annotations

from dataclasses import dataclass

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Item, Level


@dataclass(frozen=True, slots=True)
class Calculation:
    """Operands, whole numbers or calculations in brackets, joined by ``+``, ``-`` and ``*``.

    Attributes:
        operands: At least one.
        operators: One between each two operands.
    """

    operands: tuple[int | Calculation, ...]
    operators: tuple[str, ...]

    def __str__(self) -> str:
        first, *rest = (o if isinstance(o, int) else f"({o})" for o in self.operands)
        joined = zip(self.operators, rest, strict=True)
        return f"{first}{''.join(f' {operator} {operand}' for operator, operand in joined)}"


def solve(calculation: Calculation | int) -> int:
    """Return the value; products bind tighter than sums and differences."""
    if isinstance(calculation, int):
        return calculation
    first, *rest = map(solve, calculation.operands)
    total, product = 0, first
    for operator, value in zip(calculation.operators, rest, strict=True):
        if operator == "*":
            product *= value
        else:
            total, product = total + product, value if operator == "+" else -value
    return total + product


_PROMPTS = ("{}", "{} = ?", "Work out {}.", "What does {} come to?", "Value wanted: {}")
# Numbers and brackets of each depth, from the outermost in; only the innermost holds no brackets.
_SHAPES = {Level.easy: (3,), Level.medium: (2, 3), Level.hard: (2, 2, 3)}
_MOST = 9
_GREATEST_VALUE = 9999


def draw(dice: Dice, level: Level) -> Item:
    """Make a calculation with whole numbers from -9 to 9."""
    calculation = _calculation(dice, _SHAPES[level])
    while abs(solve(calculation)) > _GREATEST_VALUE:
        calculation = _calculation(dice, _SHAPES[level])
    return Item(
        text=dice.pick(_PROMPTS).format(calculation),
        target=str(solve(calculation)),
        source=str(calculation),
    )


def _calculation(dice: Dice, shape: tuple[int, ...]) -> Calculation:
    size, *inner = shape
    operands: list[int | Calculation] = [
        _calculation(dice, tuple(inner)) if inner else dice.between(-_MOST, _MOST)
        for _ in range(size)
    ]
    if inner:
        operands.insert(dice.between(0, size), dice.between(-_MOST, _MOST))
    operators = tuple(dice.pick("+-*") for _ in operands[1:])
    return Calculation(tuple(operands), operators)
