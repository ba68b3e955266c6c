"""What answers of all kinds have in common: markup, announcements, conclusions, denials."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_THOUGHTS_BEGIN = re.compile(r"<think(?:ing)?>")
_THOUGHTS_END = re.compile(r"</think(?:ing)?>")
_TYPOGRAPHY = str.maketrans({"−": "-", "’": "'", "‘": "'", "“": '"', "”": '"'})  # noqa: RUF001
_MARKUP = re.compile(
    r"\*\*|__|`|\\boxed\{([^{}]*)\}|\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}|\\[()]|\$(?=\\)|</answer>"
)
_NOUN = (
    r"(?:answer|label|result|total|output|option|choice|letter|order|list|words|value|sentiment|"
    r"type)"
)
_ANNOUNCEMENT = re.compile(
    rf"\b(?:{_NOUN}|sorted)\b(?:\s+(?:is|would be|must be|should be))?[\"']?\s*[:=]"
    rf"|\b{_NOUN}\s+(?:is|are|would be|must be|should be)\b(?!\s+not\b)|####|<answer>",
    re.IGNORECASE,
)
_OPINION = re.compile(
    r"\bI(?:'d|'ll| would| will)?\s+(?:think|believe|say|choose|pick|select|go (?:with|for))\b"
    r"(?:\s+that\b)?(?:\s+it(?:'s|\s+is|\s+must be)\b)?|\bit (?:must|has to|can only) be\b",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(r".*\b(?:so|thus|hence|therefore)\b,?", re.DOTALL | re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|since)\b", re.IGNORECASE)
# The names that tasks give their input, but for those that may also head an answer.
_NEXT_QUESTION = re.compile(
    r"\n\s*(?:Q|Question|Input|Problem|Puzzle|Expression|Condition|Calculation|Sequence|Argument|"
    r"Phrase|Sentence|Story|Tweet|Walk|Message|Request|Returned book|Store log|Text)\s*\d*:"
)
_DENIAL_BEFORE = re.compile(
    r"\b(?:not|isn't|can't|cannot|never|hardly|neither|nor|than|instead of|except|everything but|"
    r"at least|at most|almost|nearly)\s+(?:(?:be|for|say|choose|pick|call\s+it)\s+)?"
    r"(?:an?\s+|the\s+)?(?:\w+ly\s+|option\s+|choice\s+)?[(\[]?\s*$",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Undo typographic variants and markup, and drop thoughts in tags."""
    text = unicodedata.normalize("NFKC", _answered(text)).translate(_TYPOGRAPHY)
    changed = None
    # Markup is nested: \boxed{\text{B}}.
    while changed != text:
        changed, text = text, _MARKUP.sub(lambda found: found[1] or found[2] or "", text)
    return text.strip()


def _answered(text: str) -> str:
    """The text without thoughts."""
    closed = max((found.end() for found in _THOUGHTS_END.finditer(text)), default=0)
    # The tag that begins them may stand in the prompt; the one that ends them may be cut off.
    before = _THOUGHTS_END.split(_THOUGHTS.sub("", text[:closed]))[-1]
    return before + _THOUGHTS_BEGIN.split(text[closed:], maxsplit=1)[0]


def before_next_question(text: str) -> str:
    """Return the text up to where the model goes on with a question of its own."""
    found = _NEXT_QUESTION.search(text)
    return text if found is None else text[: found.start()].strip()


def after_announcement(text: str) -> str | None:
    """Return what follows the last "answer is" or the like, or None if there is none."""
    return _after_last(_ANNOUNCEMENT, text)


def after_opinion(text: str) -> str | None:
    """Return what follows the last "I think" or the like, or None if there is none."""
    return _after_last(_OPINION, text)


def before_reason(text: str) -> str:
    """Return the text up to its first "because" or the like."""
    return _REASON.split(text, maxsplit=1)[0]


def after_conclusion(text: str) -> str | None:
    """Return what follows the last "so" or the like, or None if there is none."""
    found = _CONCLUSION.match(text)
    return None if found is None else text[found.end() :].strip()


def is_denied(text: str, start: int) -> bool:
    """Tell whether what begins at a place of the text is denied: "not", "instead of"."""
    # The words of a denial stand close by; a long text is not searched from its beginning.
    return _DENIAL_BEFORE.search(text[max(0, start - 40) : start]) is not None


def present(*parts: str | None) -> Iterator[str]:
    """Yield the parts that are there."""
    yield from (part for part in parts if part)


def _after_last(pattern: re.Pattern[str], text: str) -> str | None:
    end = max((found.end() for found in pattern.finditer(text)), default=None)
    return None if end is None else text[end:].strip(" \n\t:=\"'")
