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
# Labels that hold one another, an opposite of one another, signs, typography or markup.
LABEL_SETS = [
    ("Relevant", "Irrelevant", "Partially relevant"),
    ("Happy", "Unhappy", "Neutral"),
    ("Valid", "Invalid", "Unknown"),
    ("Valid", "Invalid"),
    ("fiction", "non-fiction", "poetry"),
    ("-1", "0", "1"),
    ("+1", "-1", "1"),
    ("Yes", "No", "Don’t know"),  # noqa: RUF001
    ("__init__", "__call__", "½"),
    ("(A)", "(B)", "(C)"),
    ("A", "A+", "A-", "'A'"),
    ("C", "C++", "C#"),
    ("Roads", "Water", "Roads and Water"),
    ("=", ">=", "<"),
]


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


@pytest.mark.parametrize("labels", LABEL_SETS, ids=", ".join)
def test_every_label_is_read_as_itself_and_as_no_other_label(labels):
    for label in labels:
        read = [other for other in labels if judge(AnswerKind.label, label, other, labels)]
        assert read == [label]


@pytest.mark.parametrize("labels", LABEL_SETS[:-4], ids=", ".join)
@pytest.mark.parametrize("form", ["{}.", "**{}**", "Label: {}", "The answer is {}.", '"{}"'])
def test_a_label_is_read_from_its_usual_places(labels, form):
    for label in labels:
        text = form.format(label)
        read = [other for other in labels if judge(AnswerKind.label, text, other, labels)]
        assert read == [label]


@given(st.sets(st.sampled_from(sorted({x for labels in LABEL_SETS for x in labels})), min_size=2))
def test_labels_of_any_set_are_told_apart(labels):
    labels = tuple(labels)
    for label in labels:
        assert judge(AnswerKind.label, label, label, labels)
        assert sum(judge(AnswerKind.label, label, other, labels) for other in labels) == 1


@pytest.mark.parametrize(
    ("kind", "prediction", "target", "verdict"),
    [
        (AnswerKind.option, "(A) looks plausible at first.\n</think>\n\n(B)", "(A)", False),
        (AnswerKind.option, "(A) looks plausible at first.\n</think>\n\n(B)", "(B)", True),
        (AnswerKind.label, "No, that's not right. Yes, it returns.\n</think>\n\nYes", "Yes", True),
        (AnswerKind.label, "Yes?</think>But.<think>No</think>No", "No", True),
        (NUMBER, "<think>\n3 + 4 = 7, wait, I need to", "7", False),
        (NUMBER, "<think>3 + 4</think>7\n<thinking>or is it 8", "7", True),
        (NUMBER, "7 <think>or 8</think>", "7", True),
        (AnswerKind.text, "</thinking>Paris", "Paris", True),
    ],
)
def test_thoughts_do_not_count_though_one_of_their_tags_is_missing(
    kind, prediction, target, verdict
):
    assert judge(kind, prediction, target, ("Yes", "No")) is verdict


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
@pytest.mark.parametrize(
    "unit", ["(", "a", "1,", "1 ", "not ", "- ", "= ", "] ", "so ", "one ", "<think>", "</think>"]
)
def test_a_model_in_a_loop_is_judged_at_once(kind, unit):
    assert not judge(kind, unit * 5000, "(B)", ("(A)", "(B)"))
