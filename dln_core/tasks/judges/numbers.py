"""Numbers: signs, decimals, thousands, units, money, fractions and number words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from dln_core.tasks.judges.wording import after_announcement, is_denied

_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d+|,\d{1,2}(?!\d))?|\.\d+"
)
_SCALES = {"k": 1000, "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\-])[-+])?(?<![\w.])"
    rf"(?:(?P<whole>\d+) (?=\d+/\d))?(?P<digits>{_DIGITS})(?!\w*\d|(?:st|nd|rd|th)\b)"
    r"(?:\s*/\s*(?P<divisor>\d+(?:\.\d+)?)(?![\d/]))?"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?"
)
_UNIT_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    "fifteen|sixteen|seventeen|eighteen|nineteen"
)
_TENS_WORDS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SPELLED = {word: value for value, word in enumerate(_UNIT_WORDS.split("|"))} | {
    word: 10 * value for value, word in enumerate(_TENS_WORDS.split("|"), start=2)
}
_WORD = rf"(?:{'|'.join(sorted((*_SPELLED, *_SCALES), key=len, reverse=True))})"
_WORDS = re.compile(
    rf"\b(?P<minus>(?:minus|negative)\s+)?(?:an?\s+(?=(?:dozen|hundred|thousand|million)\b))?"
    rf"(?P<words>{_WORD}(?:(?:\s+and\s+|[\s-]+){_WORD})*)\b"
)
_MONEY = re.compile(r"(?:\bus)?[$€£]\s*")
_MINUS_WORD = re.compile(r"(?<!\d)(^|\s)(?:minus|negative)\s+(?=\d)")
_LONELY_MINUS = re.compile(r"((?:^|[=:(]|\bis)\s*)[-\u2013]\s*(?=\d)")
_CLAUSE_END = re.compile(r"\n|[.;!?](?:\s|$)|,\s|\bbecause\b|\bsince\b")
_SENTENCE_END = re.compile(r"\n|[.;!?](?:\s|$)")
_ASIDE = re.compile(r"\([^()]*\)")
# Two numbers between which the text does not choose, or a difference that it does not compute.
_HEDGE = re.compile(
    r"\bbetween\s+[\d.,]{1,20}\s+and\s+\d|(?<!from )\b[\d.,]{0,20}\d\s*(?:or|to)\s+[\d.,]{0,20}\d"
    r"|\d\s?[-\u2013]\s?\d[\d.,]*[\sa-z.]*$|\d\s+(?:(?:or|and)\s+(?:more|less|fewer)|or\s+so)\b"
)
# A number alone, with at most two words that say what is counted.
_LEADING_END = re.compile(r"(?:\s*[a-z%°]+){0,2}\s*(?:$|\n|[.;]\s|,\s|\()")
_DERIVATION = re.compile(r"=|\b(?:so|thus|hence|therefore|wait|actually)\b|\bno, |\n2[.)]")
# "24, 25 or 26", "24 or more": the first number is one of several.
_GOES_ON = re.compile(r"\s*(?:,[\d.,\s]*\d)?\s*,?\s*\b(?:or|and)\s+(?:\d|more|less|fewer|so\b)")
# What is left is the outcome, though it is said and not computed.
_REMAINDER = re.compile(r"\b(?:leaves|leaving)\b")


def read_number(text: str) -> Fraction | None:
    """Return the number that the text ends up with; None if it names none or hedges."""
    text = _prepared(text)
    announced = after_announcement(text)
    if announced is not None:
        clause = _CLAUSE_END.split(announced, maxsplit=1)[0]
        if _HEDGE.search(clause):
            return None
        found = _numbers(clause.rpartition("=")[2]) or _numbers(clause)
        if found:
            return found[0]
    leading = _leading(text)
    return _last(text) if leading is None else leading


def _prepared(text: str) -> str:
    text = _MONEY.sub("", text.lower().replace("{,}", ",")).replace("$", "")
    text = _MINUS_WORD.sub(r"\1-", text)
    # Of several lines, a dash in front marks the item of a list.
    return text if "\n" in text else _LONELY_MINUS.sub(r"\1-", text)


def _leading(text: str) -> Fraction | None:
    """The number that stands first, alone, before an explanation."""
    found = _NUMBER.match(text.lstrip("\"'([ "))
    if found is None:
        return None
    rest = text.lstrip("\"'([ ")[found.end() :]
    if _DERIVATION.search(rest) or _GOES_ON.match(rest):
        return None
    return _value(found) if _LEADING_END.match(rest) else None


def _last(text: str) -> Fraction | None:
    """The number that the last sentence with numbers arrives at."""
    for sentence in reversed(_SENTENCE_END.split(text)):
        for part in (_ASIDE.sub(" ", sentence), sentence):
            if _numbers(part):
                return _outcome(part)
    return None


def _outcome(sentence: str) -> Fraction | None:
    if "=" in sentence:
        _, _, tail = sentence.rpartition("=")
        results = _numbers(_REMAINDER.split(tail)[-1]) or _numbers(tail)
        if results:
            return results[0]
    if _HEDGE.search(sentence):
        return None
    head, _, tail = sentence.partition(":")
    counts, terms = _numbers(head), _numbers(tail)
    # "18 fruits: 10 apples and 8 pears" tells what a count is made of.
    if counts and len(terms) > 1 and sum(terms) == counts[-1]:
        return counts[-1]
    return _numbers(sentence)[-1]


def _numbers(text: str) -> list[Fraction]:
    found = [_value(f) for f in _NUMBER.finditer(text) if not is_denied(text, f.start())]
    return found or list(_spelled(text))


def _value(found: re.Match[str]) -> Fraction:
    digits = re.sub(r",(?=\d{3})| ", "", found["digits"]).replace(",", ".")
    value = Fraction(digits) / (Fraction(found["divisor"] or 1) or 1)
    value = (value + int(found["whole"] or 0)) * _SCALES.get(found["scale"] or "", 1)
    return -value if found["sign"] == "-" else value


def _spelled(text: str) -> Iterator[Fraction]:
    for found in _WORDS.finditer(text):
        if is_denied(text, found.start()):
            continue
        total = current = 0
        for word in re.findall(_WORD, found["words"]):
            if word in _SPELLED:
                current += _SPELLED[word]
            elif word in ("hundred", "dozen"):
                current = max(1, current) * _SCALES[word]
            else:
                total, current = total + max(1, current) * _SCALES[word], 0
        yield Fraction(total + current) * (-1 if found["minus"] else 1)
