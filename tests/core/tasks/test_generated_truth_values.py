"""Truth values: the solver against BBH's boolean_expressions and against Python's grammar."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import Level
from dln_core.tasks.generated.truth_values import Formula, draw, printed, solve
from tests.core.tasks.bbh_items import bbh_items

CONSTANTS = {"True": True, "False": False}


def parse(text: str) -> Formula:
    """Read a formula; the grammar is that of Python."""
    return as_formula(ast.parse(text.strip(), mode="eval").body)


def as_formula(node: ast.expr) -> Formula:
    match node:
        case ast.Constant(value=value):
            return Formula(str(value))
        case ast.Name(id=name):
            return Formula(name)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return Formula("not", (as_formula(part),))
        case ast.BoolOp(op=operator, values=parts):
            name = "and" if isinstance(operator, ast.And) else "or"
            return Formula(name, tuple(map(as_formula, parts)))
    raise AssertionError(ast.dump(node))


def test_the_solver_agrees_with_every_gold_answer(data_dir):
    for text, gold in bbh_items(data_dir, "boolean_expressions"):
        assert str(solve(parse(text.removesuffix(" is")), CONSTANTS)) == gold, text


formulas = st.recursive(
    st.sampled_from(["p", "q", "r"]).map(Formula),
    lambda parts: (
        st.builds(lambda part: Formula("not", (part,)), parts)
        | st.builds(Formula, st.sampled_from(["and", "or"]), st.tuples(parts, parts))
    ),
)
facts = st.fixed_dictionaries({name: st.booleans() for name in "pqr"})


@given(formulas, facts)
def test_a_printed_formula_is_read_as_what_it_says(formula, facts):
    assert solve(parse(printed(formula)), facts) == solve(formula, facts)


@given(facts)
def test_connectives_mean_what_their_tables_say(facts):
    p, q = Formula("p"), Formula("q")
    assert solve(Formula("not", (p,)), facts) == (facts["p"] is False)
    assert solve(Formula("and", (p, q)), facts) == (facts["p"] + facts["q"] == 2)
    assert solve(Formula("or", (p, q)), facts) == (facts["p"] + facts["q"] > 0)


FACT = re.compile(r"[Tt]he (\w+) \w+ is (on|off|raised|lowered|open|closed|there|missing)\b")
CONDITION = re.compile(r"(?:True or False: |condition: |Condition: )(.*?)[.?]")
LEAF = re.compile(r"(\w+) (?:lamp on|flag raised|valve open|key there)")


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_the_facts_and_the_formula(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        facts = {
            name: state in ("on", "raised", "open", "there")
            for name, state in FACT.findall(item.text)
        }
        condition = LEAF.sub(r"\1", CONDITION.search(item.text)[1])
        assert str(solve(parse(condition), facts)) == item.target, item.text
        assert set(re.findall(r"\w+", condition)) - {"and", "or", "not"} == set(facts)
