"""Lettered options: ``(B)`` in any of its usual spellings."""

from __future__ import annotations

import re

from dln_core.tasks.judges.wording import (
    after_announcement,
    after_conclusion,
    after_opinion,
    is_denied,
    present,
)

# A bare A or I may be a word: it counts only where a sentence could not go on after it.
_LEADING = re.compile(
    r"(?:(?i:the\s+)?(?i:option|choice|letter)\s+)?"
    r"(?:[(\[{]([A-Za-z])[)\]}]"
    r"|([A-Z])(?=\s*(?:$|\n|[.:,;)\"]|-\s|(?:because|since|as|is (?:right|correct|the))\b))"
    r"|([B-HJ-Z])(?![\w'-])"
    r"|([a-z])(?=[.:)]|\s*$))"
)
_NAMED = re.compile(r"[(\[]([A-Za-z])[)\]]|\b(?i:option|choice)\s+([A-Z])\b")
_SECOND = re.compile(
    r"\)?\s*(?:/|or\b|and\b|,\s*(?=[(\[]|[A-Z]\s*(?:$|[.,])))\s*"
    r"(?:(?:maybe|perhaps|possibly|even)\s+)?(?:(?i:option)\s*)?[(\[]?[A-Za-z]\b(?![\w'])"
)
_DENIED = re.compile(
    r"\)?\s*(?:\?|(?:isn't|cannot|can't|(?:is|are|was|seems|looks|(?:can|must) be)\s+"
    r"(?:\w+ly\s+|also\s+)?"
    r"(?:not|wrong|incorrect|false|excluded|impossible|ruled out|eliminated))\b)"
)


def read_option(text: str) -> str | None:
    """Return the letter of the option that the text chooses, in upper case; None if unclear."""
    announced, opinion = after_announcement(text), after_opinion(text)
    for part in present(announced, opinion, text):
        part = part.lstrip("\"'")
        found = _LEADING.match(part)
        if found and not any(p.match(part, found.end()) for p in (_DENIED, _SECOND)):
            return _letter(found)
    for part in present(announced, after_conclusion(text), text):
        letters = _affirmed(part)
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def _affirmed(text: str) -> set[str]:
    """Letters that the text names without denying them."""
    return {
        _letter(found)
        for found in _NAMED.finditer(text)
        if not is_denied(text, found.start()) and not _DENIED.match(text, found.end())
    }


def _letter(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group).upper()
