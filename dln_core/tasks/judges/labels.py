"""Labels: one of a few words, such as Yes and No, or Positive, Neutral and Negative."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from dln_core.tasks.judges.wording import (
    after_announcement,
    after_conclusion,
    after_opinion,
    before_reason,
    is_denied,
    plain,
    present,
)

# In "no step is left", no is no answer; in "no, it is not" it is.
_ANSWERING_NO = (
    r"no(?!\s+(?!(?:i|you|we|he|she|it|they|this|that|the|an?|there|because|since|as|but|although|"
    r"though|for|or|and|to|if|not)\b)\w)"
)
_CONDITION = re.compile(r",?\s+(?:if|unless)\b")
# What may stand before an answer: quotes, brackets, the dash of a list.
_OPENING = "\"'([- \n"
_HEDGE = re.compile(r"\s*(?:/|,|or\b|and\b|to\b)\s*(?:or\b|and\b)?\s*")


def read_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the label, in lower case, that the text commits to; None if unclear."""
    forms = _forms(labels)
    if not forms:
        return None
    stated = _form_in(text, tuple(forms))
    return None if stated is None else forms[stated]


@cache
def _forms(labels: tuple[str, ...]) -> Mapping[str, str]:
    """Labels in lower case, by the form that they take in a text without markup."""
    forms = {plain(label).lower(): label.lower() for label in labels}
    return {form: label for form, label in forms.items() if form}


def _form_in(text: str, forms: tuple[str, ...]) -> str | None:
    # An answer that is a label and nothing else says what it says: "Irrelevant", "-1", "(A)".
    if (whole := text.strip().lower()) in forms:
        return whole
    pattern, opening = _pattern(forms), _opening(forms)
    announced, opinion = after_announcement(text), after_opinion(text)
    equal = text.rpartition("=")[2] if "=" in text else None
    for part in present(announced, equal, opinion, text):
        found = _leading(part.lower().lstrip(opening), pattern)
        if found:
            return found
    for part in present(announced, after_conclusion(text), text, before_reason(text)):
        stated = _only(part.lower(), pattern, forms)
        if stated:
            return stated
    return None


@cache
def _pattern(forms: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(forms, key=len, reverse=True)
    words = "|".join(_ANSWERING_NO if form == "no" else re.escape(form) for form in longest_first)
    # A label before an opposite: where Irrelevant is a label, it is not merely no Relevant.
    opposed = rf"(?:un|in|im|ir|non-?)(?P<opposed>{words})"
    return re.compile(rf"(?<![\w-])(?:(?P<label>{words})|{opposed})(?![\w-])")


@cache
def _opening(forms: tuple[str, ...]) -> str:
    return "".join(mark for mark in _OPENING if not any(form.startswith(mark) for form in forms))


def _leading(text: str, pattern: re.Pattern[str]) -> str | None:
    found = pattern.match(text)
    if found is None or found["opposed"]:
        return None
    # "Yes if it rains" waits for what else is said.
    if _CONDITION.match(text, found.end()):
        return None
    # "Urgent or Normal" quotes the question, it does not answer it.
    hedge = _HEDGE.match(text, found.end())
    is_quoted = text.startswith("?", found.end()) or (hedge and pattern.match(text, hedge.end()))
    return None if is_quoted else found["label"]


def _only(text: str, pattern: re.Pattern[str], forms: tuple[str, ...]) -> str | None:
    """The one label that the text affirms; of two labels, denying one affirms the other."""
    named: set[str] = set()
    for found in pattern.finditer(text):
        form = found["label"] or found["opposed"]
        if is_denied(text, found.start()) == bool(found["opposed"]):
            named.add(form)
        elif len(forms) == 2:
            named.update(other for other in forms if other != form)
    return named.pop() if len(named) == 1 else None
