"""Comparing what a model wrote with the target, by the kind of answer.

A judge takes the answer that the text commits to.  A text that commits to none, or to two, is
wrong, even if the target occurs somewhere in it.
"""

from __future__ import annotations

from enum import StrEnum

from dln_core.tasks.judges.labels import read_label
from dln_core.tasks.judges.lists import read_brackets, read_words, words
from dln_core.tasks.judges.numbers import read_number
from dln_core.tasks.judges.options import read_option
from dln_core.tasks.judges.texts import normal, read_texts
from dln_core.tasks.judges.wording import before_next_question, plain


class AnswerKind(StrEnum):
    """How the answers of a task are read."""

    option = "option"
    label = "label"
    number = "number"
    words = "words"
    brackets = "brackets"
    text = "text"


def judge(kind: AnswerKind, prediction: str, target: str, labels: tuple[str, ...] = ()) -> bool:
    """Tell whether a prediction states the target.

    Args:
        kind: How answers of the task are read.
        prediction: The model's raw output.
        target: The right answer.
        labels: All labels of the task; needed for ``AnswerKind.label``.
    """
    text = plain(prediction)
    first = before_next_question(text)
    # A model may also repeat the question and then answer it.
    verdict = _verdict(kind, first, target, labels)
    if verdict is None and first != text:
        verdict = _verdict(kind, text, target, labels)
    return bool(verdict)


def _verdict(kind: AnswerKind, text: str, target: str, labels: tuple[str, ...]) -> bool | None:
    """Whether the text states the target; None if it states no answer."""
    stated: object
    wanted: object
    match kind:
        case AnswerKind.option:
            stated, wanted = read_option(text), read_option(plain(target))
        case AnswerKind.label:
            stated, wanted = read_label(text, labels), target.lower()
        case AnswerKind.number:
            stated, wanted = read_number(text), read_number(plain(target))
        case AnswerKind.words:
            wanted = words(plain(target))
            stated = read_words(text, wanted)
        case AnswerKind.brackets:
            stated, wanted = read_brackets(text), read_brackets(plain(target))
        case AnswerKind.text:
            return normal(plain(target)) in read_texts(text) if text else None
    return None if stated is None else stated == wanted
