"""Labels: one of a few words, such as Yes and No, or Positive, Neutral and Negative."""

from __future__ import annotations

import re
from functools import cache

from dln_core.tasks.judges.wording import (
    after_announcement,
    after_conclusion,
    after_opinion,
    before_reason,
    is_denied,
    present,
)

# In "no step is left", no is no answer; in "no, it is not" it is.
_ANSWERING_NO = (
    r"no(?!\s+(?!(?:i|you|we|he|she|it|they|this|that|the|an?|there|because|since|as|but|although|"
    r"though|for|or|and|to|if|not)\b)\w)"
)
_CONDITION = re.compile(r",?\s+(?:if|unless)\b")
_HEDGE = re.compile(r"\s*(?:/|,|or\b|and\b|to\b)\s*(?:or\b|and\b)?\s*")


def read_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the label, in lower case, that the text commits to; None if unclear."""
    if not labels:
        return None
    pattern = _pattern(labels)
    announced, opinion = after_announcement(text), after_opinion(text)
    equal = text.rpartition("=")[2] if "=" in text else None
    for part in present(announced, equal, opinion, text):
        found = _leading(part.lower(), pattern)
        if found:
            return found
    for part in present(announced, after_conclusion(text), text, before_reason(text)):
        stated = _only(part.lower(), pattern, labels)
        if stated:
            return stated
    return None


@cache
def _pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((label.lower() for label in labels), key=len, reverse=True)
    words = (_ANSWERING_NO if label == "no" else re.escape(label) for label in longest_first)
    opposite = r"(?P<opposite>un|in|im|ir|non-?)?"
    return re.compile(rf"(?<![\w-]){opposite}(?P<label>{'|'.join(words)})(?![\w-])")


def _leading(text: str, pattern: re.Pattern[str]) -> str | None:
    text = text.lstrip("\"'([- \n")
    found = pattern.match(text)
    if found is None or found["opposite"]:
        return None
    # "Yes if it rains" waits for what else is said.
    if _CONDITION.match(text, found.end()):
        return None
    # "Urgent or Normal" quotes the question, it does not answer it.
    hedge = _HEDGE.match(text, found.end())
    is_quoted = text.startswith("?", found.end()) or (hedge and pattern.match(text, hedge.end()))
    return None if is_quoted else found["label"]


def _only(text: str, pattern: re.Pattern[str], labels: tuple[str, ...]) -> str | None:
    """The one label that the text affirms; of two labels, denying one affirms the other."""
    named: set[str] = set()
    for found in pattern.finditer(text):
        if is_denied(text, found.start()) == bool(found["opposite"]):
            named.add(found["label"])
        elif len(labels) == 2:
            named.update(label.lower() for label in labels if label.lower() != found["label"])
    return named.pop() if len(named) == 1 else None
