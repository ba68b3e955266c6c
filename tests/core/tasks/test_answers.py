"""Model-like answers with the verdict that a person would give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.tasks.answers import AnswerKind, judge

OPTION, LABEL, NUMBER = AnswerKind.option, AnswerKind.label, AnswerKind.number
WORDS, BRACKETS, TEXT = AnswerKind.words, AnswerKind.brackets, AnswerKind.text

YES_NO = ("Yes", "No")
VALIDITY = ("Valid", "Invalid")
DISASTER = ("Relevant", "Not relevant")
MOOD = ("Positive", "Neutral", "Negative")

RIGHT = [
    (OPTION, "(B)", "(B)", ()),
    (OPTION, "B", "(B)", ()),
    (OPTION, "b", "(B)", ()),
    (OPTION, "B.", "(B)", ()),
    (OPTION, "b) the owl", "(B)", ()),
    (OPTION, "(B) The owl is the rightmost", "(B)", ()),
    (OPTION, "B: 12/25/1937", "(B)", ()),
    (OPTION, "**(B)**", "(B)", ()),
    (OPTION, "Option B", "(B)", ()),
    (OPTION, "The answer is (B).", "(B)", ()),
    (OPTION, "So the answer is B because the owl comes last.", "(B)", ()),
    (OPTION, "(A) cannot be right, as Dan is third. The answer is (D).", "(D)", ()),
    (OPTION, "Answer: option C", "(C)", ()),
    (OPTION, "I would choose (R) here", "(R)", ()),
    (OPTION, "The correct choice is\n(F)", "(F)", ()),
    (OPTION, r"\boxed{C}", "(C)", ()),
    (LABEL, "Yes", "Yes", YES_NO),
    (LABEL, "yes.", "Yes", YES_NO),
    (LABEL, "YES, you return to the start; no step is left over.", "Yes", YES_NO),
    (LABEL, "You end 3 steps left, so the answer is No.", "No", YES_NO),
    (LABEL, "There is no displacement left, so yes.", "Yes", YES_NO),
    (LABEL, "**No**", "No", YES_NO),
    (LABEL, "The argument is not valid.", "Invalid", VALIDITY),
    (LABEL, "deductively invalid", "Invalid", VALIDITY),
    (LABEL, "Not Relevant", "Not relevant", DISASTER),
    (LABEL, "This tweet is relevant", "Relevant", DISASTER),
    (LABEL, "Sentiment: negative", "Negative", MOOD),
    (LABEL, "It is neither positive nor negative, I would call it neutral.", "Neutral", MOOD),
    (LABEL, '"Positive"', "Positive", MOOD),
    (NUMBER, "24", "24", ()),
    (NUMBER, "24.", "24", ()),
    (NUMBER, "24.00", "24", ()),
    (NUMBER, "-35", "-35", ()),
    (NUMBER, "−35", "-35", ()),  # noqa: RUF001
    (NUMBER, "minus 35", "-35", ()),
    (NUMBER, "$1,234", "1234", ()),
    (NUMBER, "The answer is 18 dollars.", "18", ()),
    (NUMBER, "She has 3 boxes of 12, so 3*12 = 36. The answer is 36", "36", ()),
    (NUMBER, "The answer is 3 + 4 = 7.", "7", ()),
    (NUMBER, "The answer is 9 because there are 2 lamps and 7 chairs.", "9", ()),
    (NUMBER, "16 - 3 - 4 = 9 eggs\n9 * 2 = 18\n#### 18", "18", ()),
    (NUMBER, "I count eight instruments.", "8", ()),
    (NUMBER, "- 5 jars\n- 3 jars\nTotal: 8", "8", ()),
    (WORDS, "apple bear cat", "apple bear cat", ()),
    (WORDS, "apple, bear, cat", "apple bear cat", ()),
    (WORDS, "1. apple\n2. bear\n3. cat", "apple bear cat", ()),
    (WORDS, "Sorted list: Apple Bear Cat.", "apple bear cat", ()),
    (WORDS, "it&t o'hare same", "it&t o'hare same", ()),
    (BRACKETS, "] ]", "] ]", ()),
    (BRACKETS, "]]", "] ]", ()),
    (BRACKETS, "The answer is: `} >`", "} >", ()),
    (TEXT, "The answer is Paris.", "paris", ()),
]

WRONG = [
    (OPTION, "(A)", "(B)", ()),
    (OPTION, "A", "(B)", ()),
    (OPTION, "", "(B)", ()),
    (OPTION, "(A) or (B)", "(A)", ()),
    (OPTION, "The answer is (A) or (B).", "(A)", ()),
    (OPTION, "I am not sure.", "(I)", ()),
    (OPTION, "A triangle", "(A)", ()),
    (OPTION, "The answer is a triangle", "(A)", ()),
    (OPTION, "It could be (A), it could be (C)", "(C)", ()),
    (OPTION, "(B) looks good at first. The answer is (C).", "(B)", ()),
    (OPTION, "B because A is wrong", "(A)", ()),
    (OPTION, "the rightmost one", "(B)", ()),
    (OPTION, "BBBBBBBB", "(B)", ()),
    (LABEL, "No", "Yes", YES_NO),
    (LABEL, "Yes or No", "Yes", YES_NO),
    (LABEL, "yes/no", "No", YES_NO),
    (LABEL, "Maybe", "Yes", YES_NO),
    (LABEL, "No, although one would say yes at first", "Yes", YES_NO),
    (LABEL, "I know nothing about it", "No", YES_NO),
    (LABEL, "The argument is not valid.", "Valid", VALIDITY),
    (LABEL, "invalid", "Valid", VALIDITY),
    (LABEL, "Not relevant", "Relevant", DISASTER),
    (LABEL, "This is relevant, the town burns", "Not relevant", DISASTER),
    (LABEL, "Positive and negative", "Positive", MOOD),
    (LABEL, "mixed", "Neutral", MOOD),
    (LABEL, "not positive", "Positive", MOOD),
    (NUMBER, "42", "7", ()),
    (NUMBER, "35", "-35", ()),
    (NUMBER, "-35", "35", ()),
    (NUMBER, "124", "24", ()),
    (NUMBER, "2.4", "24", ()),
    (NUMBER, "12,34", "1234", ()),
    (NUMBER, "There are 24 in all, minus 2 makes 22", "24", ()),
    (NUMBER, "The answer is 36, not 18.", "18", ()),
    (NUMBER, "She sells 18 eggs.\n#### 20", "18", ()),
    (NUMBER, "24 + 1 = 25", "24", ()),
    (NUMBER, "none at all", "0", ()),
    (NUMBER, "seven", "8", ()),
    (WORDS, "bear apple cat", "apple bear cat", ()),
    (WORDS, "apple bear", "apple bear cat", ()),
    (WORDS, "apple bear cat dog", "apple bear cat", ()),
    (WORDS, "applebearcat", "apple bear cat", ()),
    (WORDS, "The words are apple, cat, bear", "apple bear cat", ()),
    (BRACKETS, "] )", "] ]", ()),
    (BRACKETS, "]", "] ]", ()),
    (BRACKETS, "[ [ ] ]", "] ]", ()),
    (BRACKETS, "two closing brackets", "] ]", ()),
    (TEXT, "Paris, Texas", "paris", ()),
    (TEXT, "", "paris", ()),
]


@pytest.mark.parametrize(("kind", "prediction", "target", "labels"), RIGHT)
def test_right_answers_are_accepted_as_models_write_them(kind, prediction, target, labels):
    assert judge(kind, prediction, target, labels)


@pytest.mark.parametrize(("kind", "prediction", "target", "labels"), WRONG)
def test_wrong_and_undecided_answers_are_refused(kind, prediction, target, labels):
    assert not judge(kind, prediction, target, labels)


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_a_number_is_right_exactly_if_it_is_equal(stated, wanted):
    assert judge(NUMBER, f"The answer is {stated:,}.", str(wanted)) == (stated == wanted)


@given(st.text(max_size=60), st.sampled_from(list(AnswerKind)))
def test_any_text_gets_a_verdict(prediction, kind):
    assert judge(kind, prediction, "(A)", ("(A)", "(B)")) in (True, False)
