"""Lists of words in a wanted order, and strings of brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dln_core.tasks.judges.wording import after_announcement

_ARROWS = re.compile(r"[-=]+>|→")
_LIST_NUMBER = re.compile(r"(?:^|(?<=\s))(?:\(?\d+[.)]|[-*•])\s+", re.MULTILINE)
_SEPARATOR = re.compile(r"[\s,;|<>]+")
_JOINING = ("and", "&")
_SENTENCE_END = re.compile(r"[.!?](?:\s+|$)")

_BRACKET = r"[()\[\]{}<>]"
_RUN = re.compile(rf"{_BRACKET}(?:[\s,]*{_BRACKET})*")
_ASIDE = re.compile(r"\([^()\[\]{}<>]*[A-Za-z][^()\[\]{}<>]*\)")


def words(text: str) -> list[str]:
    """Return the words of a list, in lower case, without bullets and punctuation."""
    bare = _LIST_NUMBER.sub(" ", _ARROWS.sub(" ", text))
    stripped = (word.strip(".:\"'[]()") for word in _SEPARATOR.split(bare))
    return [word.lower() for word in stripped if word]


def read_words(text: str, wanted: list[str]) -> list[str] | None:
    """Return the last list in the text that has just the wanted words, in the text's order."""
    found = None
    for block in _blocks(after_announcement(text) or text):
        listed = [word for word in words(block) if word not in _JOINING or word in wanted]
        if sorted(listed) == sorted(wanted):
            found = listed
    return found


def read_brackets(text: str) -> str | None:
    """Return the string of brackets that the text gives, without spaces; None if it has none."""
    announced = after_announcement(text)
    if announced is not None and (found := _RUN.search(_without_prose(announced))):
        return _bare(found[0])
    bare = _without_prose(text)
    alone = [line for line in bare.splitlines() if _RUN.fullmatch(line.strip(" ."))]
    runs = alone[:1] or _RUN.findall(bare)
    return _bare(runs[-1]) if runs else None


def _blocks(text: str) -> Iterator[str]:
    """Everything that may be a list by itself, in the order of the text."""
    yield text
    for paragraph in re.split(r"\n\s*\n", text):
        yield paragraph
        for line in paragraph.splitlines():
            yield line
            yield line.rpartition(":")[2]
            yield from _SENTENCE_END.split(line)


def _without_prose(text: str) -> str:
    return _ASIDE.sub(" ", _ARROWS.sub(" ", text))


def _bare(run: str) -> str:
    return "".join(mark for mark in run if mark in "()[]{}<>")
