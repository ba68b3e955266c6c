"""Arithmetic: the solver against BBH's multistep_arithmetic_two and against Python's grammar."""

from __future__ import annotations

import ast
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.arithmetic import Calculation, draw, solve
from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from tests.core.tasks.bbh_items import bbh_items


def parse(text: str) -> Calculation:
    """Read a calculation with spaces around its operators."""
    return calculation(text.replace("(", "( ").replace(")", " )").split())


def calculation(tokens: list[str]) -> Calculation:
    """Take a calculation from the tokens, up to a closing bracket or the end."""
    operands, operators = [], []
    while tokens:
        token = tokens.pop(0)
        if token == ")":
            break
        if token in ("+", "-", "*"):
            operators.append(token)
        else:
            operands.append(calculation(tokens) if token == "(" else int(token))
    return Calculation(tuple(operands), tuple(operators))


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "multistep_arithmetic_two"):
        assert str(solve(parse(text.removesuffix(" =")))) == gold, text


OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def value(node: ast.expr) -> int:
    """Compute a tree of Python's own parser."""
    match node:
        case ast.Constant(value=number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -value(part)
        case ast.BinOp(left=left, op=sign, right=right):
            return OPERATIONS[type(sign)](value(left), value(right))
    raise AssertionError(ast.dump(node))


def calculations(operands):
    return st.integers(1, 4).flatmap(
        lambda size: st.builds(
            Calculation,
            st.tuples(*[operands] * size),
            st.tuples(*[st.sampled_from("+-*")] * (size - 1)),
        )
    )


numbers = st.integers(-20, 20)


@given(st.recursive(calculations(numbers), lambda inner: calculations(numbers | inner)))
def test_a_printed_calculation_has_its_value_by_pythons_rules(calculation):
    assert value(ast.parse(str(calculation), mode="eval").body) == solve(calculation)
    assert parse(str(calculation)) == calculation


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_calculation(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        formula = re.search(r"[-(\d][-+*() \d]*[\d)]", item.text)[0]
        assert str(value(ast.parse(formula, mode="eval").body)) == item.target, item.text
        assert abs(int(item.target)) <= 9999
