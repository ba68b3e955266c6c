"""Reading the answer out of what a model wrote, and comparing it with the target.

A judge takes the answer that the text commits to.  A text that commits to none, or to two, is
wrong, even if the target occurs somewhere in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum


class AnswerKind(StrEnum):
    """How the answers of a task are read."""

    option = "option"
    label = "label"
    number = "number"
    words = "words"
    brackets = "brackets"
    text = "text"


_MARKER = re.compile(
    r"(?:\b(?:answer|label|result|total|output|option|choice|order|list|words)\b"
    r"(?:\s+(?:is|would be|must be|should be))?\s*[:=]|"
    r"\b(?:answer|label|result|total|choice)\s+(?:is|would be|must be|should be)\b|####)",
    re.IGNORECASE,
)
_DECORATION = re.compile(r"\*\*|__|`|\\boxed\{([^{}]*)\}|\\\(|\\\)|\$(?=\\)")


def judge(kind: AnswerKind, prediction: str, target: str, labels: tuple[str, ...] = ()) -> bool:
    """Tell whether a prediction states the target.

    Args:
        kind: How answers of the task are read.
        prediction: The model's raw output.
        target: The right answer.
        labels: All labels of the task; needed for ``AnswerKind.label``.
    """
    text = _plain(prediction)
    if not text:
        return False
    if kind is AnswerKind.label:
        return _stated_label(text, labels) == target.lower()
    if kind is AnswerKind.words:
        return _states_words(text, target)
    return _READERS[kind](text) == _READERS[kind](_plain(target))


def _plain(text: str) -> str:
    """Undo typographic variants and markup."""
    text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("’", "'")  # noqa: RUF001
    return _DECORATION.sub(lambda found: found[1] or "", text).strip()


def _after_marker(text: str) -> str | None:
    """Return what follows the last "answer is", or None if there is none."""
    end = max((found.end() for found in _MARKER.finditer(text)), default=None)
    return None if end is None else text[end:].strip(" \n\t:=\"'")


# --- options ------------------------------------------------------------------------------------

# A bare A or I may be a word: it counts only where a sentence could not go on after it.
_LEADING_OPTION = re.compile(
    r"\(?([A-Za-z])\)"
    r"|([A-Z])(?=\s*(?:$|\n|[.:,;]|[-–—]\s|because\b|since\b|is (?:right|correct|the)\b))"  # noqa: RUF001
    r"|([B-HJ-Z])(?=\s)"
    r"|([a-z])(?=[.:]|\s*$)"
)
_MARKED_OPTION = re.compile(
    r"(?:(?i:option|choice)\s*)?"
    r"(?:\(([A-Za-z])\)|([A-Z])(?![\w'-])|([a-z])(?=[.:)]|\s*$))"
)
_ENCLOSED_OPTION = re.compile(r"\(([A-Za-z])\)")
_NAMED_OPTION = re.compile(r"\b(?i:option|choice)\s+\(?([A-Z])\b")
_SECOND_OPTION = re.compile(r"\)?\s*(?:/|or\b|and\b)\s*(?:(?i:option)\s*)?\(?[A-Za-z]\b(?![\w'])")


def _option(text: str) -> str | None:
    """Return the letter of the option that the text chooses, in upper case."""
    for part, pattern in ((_after_marker(text), _MARKED_OPTION), (text, _LEADING_OPTION)):
        if part is not None and (found := pattern.match(part)):
            return None if _SECOND_OPTION.match(part, found.end()) else _letter(found)
    for pattern in (_ENCLOSED_OPTION, _NAMED_OPTION):
        letters = {letter.upper() for letter in pattern.findall(text)}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def _letter(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group).upper()


# --- labels -------------------------------------------------------------------------------------

_NEGATION = re.compile(r"\b(?:not|isn't|never|neither|nor|than)\s+(?:an?\s+|the\s+)?$")


_CONCLUSION = re.compile(r".*\b(?:so|thus|hence|therefore)\b", re.DOTALL)


def _stated_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the label, in lower case, that the text commits to."""
    text = text.lower()
    marked = _after_marker(text)
    for part in (marked, text):
        if part is not None and (start := _leading_label(part, labels)):
            return start
    stated = _only_label(text if marked is None else marked, labels)
    if stated is None and (conclusion := _CONCLUSION.match(text)):
        return _only_label(text[conclusion.end() :], labels)
    return stated


def _label_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((label.lower() for label in labels), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")


def _leading_label(text: str, labels: tuple[str, ...]) -> str | None:
    pattern = _label_pattern(labels)
    text = text.lstrip("\"'([- ")
    found = pattern.match(text)
    if found is None:
        return None
    # "Urgent or Normal" quotes the question, it does not answer it.
    hedge = re.compile(r"\s*(?:/|or|and)\s*").match(text, found.end())
    return None if hedge and pattern.match(text, hedge.end()) else found[0]


def _only_label(text: str, labels: tuple[str, ...]) -> str | None:
    named: set[str] = set()
    for found in _label_pattern(labels).finditer(text):
        if not _NEGATION.search(text[: found.start()]):
            named.add(found[0])
        elif len(labels) == 2:
            named.update(label.lower() for label in labels if label.lower() != found[0])
    return named.pop() if len(named) == 1 else None


# --- numbers ------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?<![\w.)])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w*\d)|(?<![\w.)])-?\.\d+"
)
_SPELLED_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    "fifteen|sixteen|seventeen|eighteen|nineteen|twenty"
)
_SPELLED = {word: value for value, word in enumerate(_SPELLED_WORDS.split("|"))}
_SPELLED_NUMBER = re.compile(rf"\b(?:{_SPELLED_WORDS})\b")
_SPOKEN_MINUS = re.compile(r"(?<!\d)(^|\s)(?:minus|negative)\s+(?=\d)")
_CLAUSE_END = re.compile(r"\n|[.;!?](?:\s|$)|,\s|\bbecause\b|\bsince\b")


def _number(text: str) -> Decimal | None:
    """Return the number that the text ends up with."""
    text = _SPOKEN_MINUS.sub(r"\1-", text.lower().replace("$", "").replace("€", ""))
    marked = _after_marker(text)
    if marked is not None:
        clause = _CLAUSE_END.split(marked, maxsplit=1)[0]
        found = _numbers(clause.rpartition("=")[2]) or _numbers(clause)
        if found:
            return found[0]
    found = _numbers(text)
    return found[-1] if found else None


def _numbers(text: str) -> list[Decimal]:
    digits = [Decimal(re.sub(r"[,\s]", "", found)) for found in _NUMBER.findall(text)]
    return digits or [Decimal(_SPELLED[word]) for word in _SPELLED_NUMBER.findall(text)]


# --- lists of words, brackets, text -------------------------------------------------------------

_LIST_NUMBER = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s*", re.MULTILINE)


def _states_words(text: str, target: str) -> bool:
    """Tell whether the text, or its end, is exactly the wanted list of words."""
    wanted = _words(target)
    parts = [text, text.rpartition(":")[2], text.rpartition("\n")[2]]
    marked = _after_marker(text)
    if marked is not None:
        parts.append(marked)
    return any(_words(part) == wanted for part in parts)


def _words(text: str) -> list[str]:
    bare = (word.strip(".\"'[]()") for word in re.split(r"[\s,;]+", _LIST_NUMBER.sub(" ", text)))
    return [word.lower() for word in bare if word]


def _brackets(text: str) -> str:
    marked = _after_marker(text)
    return "".join(c for c in (marked if marked else text) if c in "()[]{}<>")


def _text(text: str) -> str:
    marked = _after_marker(text)
    return " ".join((marked if marked else text).lower().split()).strip(" .\"'")


_READERS: dict[AnswerKind, Callable[[str], object]] = {
    AnswerKind.option: _option,
    AnswerKind.number: _number,
    AnswerKind.brackets: _brackets,
    AnswerKind.text: _text,
}
