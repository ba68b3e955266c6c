"""Model-like answers with the verdict that a person would give; the rows are in answers.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.answers import AnswerKind, judge

GROUPS: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("answers.yaml").read_text("utf-8")
)
NUMBER = AnswerKind.number


def rows(verdict: str) -> list[Any]:
    return [
        pytest.param(
            AnswerKind(group["kind"]),
            text,
            group["target"],
            tuple(group.get("labels", ())),
            id=f"{group['target']}<-{text!r:.60}",
        )
        for group in GROUPS
        for text in group[verdict]
    ]


@pytest.mark.parametrize(("kind", "prediction", "target", "labels"), rows("right"))
def test_right_answers_are_accepted_as_models_write_them(kind, prediction, target, labels):
    assert judge(kind, prediction, target, labels)


@pytest.mark.parametrize(("kind", "prediction", "target", "labels"), rows("wrong"))
def test_wrong_and_undecided_answers_are_refused(kind, prediction, target, labels):
    assert not judge(kind, prediction, target, labels)


@pytest.mark.parametrize(("kind", "prediction", "target", "labels"), rows("right"))
def test_what_is_right_for_one_target_is_wrong_for_all_others(kind, prediction, target, labels):
    others = {g["target"] for g in GROUPS if g["kind"] == kind} | set(labels)
    for other in others - {target}:
        assert not judge(kind, prediction, other, labels)


def test_half_of_the_table_and_more_are_wrong_answers_each_with_why_and_it_covers_all_kinds():
    assert all(why for group in GROUPS for why in group["wrong"].values())
    assert len(rows("wrong")) >= len(rows("right")) > 200
    assert {group["kind"] for group in GROUPS} == set(AnswerKind)


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_a_number_is_right_exactly_if_it_is_equal(stated, wanted):
    assert judge(NUMBER, f"The answer is {stated:,}.", str(wanted)) == (stated == wanted)


@given(
    st.decimals(-(10**6), 10**6, allow_nan=False, places=2),
    st.sampled_from(["{}", "{}.", "${}", "It is {}", "so x = {}", "{} dollars", "#### {}"]),
)
def test_a_number_is_read_back_from_any_of_its_usual_places(value, form):
    assert judge(NUMBER, form.format(f"{value:,}"), str(value))


@given(st.text(max_size=60), st.sampled_from(list(AnswerKind)))
def test_any_text_gets_a_verdict(prediction, kind):
    assert judge(kind, prediction, "(A)", ("(A)", "(B)")) in (True, False)


@pytest.mark.parametrize("kind", list(AnswerKind))
@pytest.mark.parametrize("unit", ["(", "a", "1,", "1 ", "not ", "- ", "= ", "] ", "so ", "one "])
def test_a_model_in_a_loop_is_judged_at_once(kind, unit):
    assert not judge(kind, unit * 5000, "(B)", ("(A)", "(B)"))
