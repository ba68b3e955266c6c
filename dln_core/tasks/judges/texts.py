"""Free texts, compared without regard to case, articles in front, quotes and a final stop."""

from __future__ import annotations

import re

from dln_core.tasks.judges.wording import after_announcement, after_opinion

_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)")
_SENTENCE_END = re.compile(r"[.!?]\s")


def normal(text: str) -> str:
    """Return the text in the form in which texts are compared."""
    bare = " ".join(text.lower().split()).strip(" .!\"'")
    return _ARTICLE.sub("", bare, count=1) if _ARTICLE.match(bare) else bare


def read_texts(text: str) -> list[str]:
    """Return what the text may mean as its answer: all of it, its first line, first sentence."""
    answer = after_announcement(text) or after_opinion(text) or text
    line = answer.strip().partition("\n")[0]
    return [normal(part) for part in (answer, line, _SENTENCE_END.split(line, maxsplit=1)[0])]
