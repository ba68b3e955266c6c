"""Free texts, compared without regard to case, articles in front, quotes and a final stop."""

from __future__ import annotations

import re

from dln_core.tasks.judges.wording import after_announcement, after_opinion

_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)")
_POINTER = re.compile(r"(?:it|this|that)(?:'s|\s+is)\s+")
_ASIDE = re.compile(r"\s*\([^()]*\)[\s.]*$")
_SENTENCE_END = re.compile(r"[.!?]\s")


def normal(text: str) -> str:
    """Return the text in the form in which texts are compared."""
    bare = " ".join(text.lower().split()).strip(" .!\"'")
    for prefix in (_POINTER, _ARTICLE):
        if found := prefix.match(bare):
            bare = bare[found.end() :]
    return bare


def read_texts(text: str) -> list[str]:
    """Return what may be the answer: the text, its first line or sentence, all but an aside."""
    answer = after_announcement(text) or after_opinion(text) or text
    line = answer.strip().partition("\n")[0]
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    return [normal(part) for part in (answer, line, sentence, _ASIDE.sub("", line))]
