"""What every generator makes: items in three grades of difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_PEOPLE = (
    "Ada Amir Anouk Beatriz Bela Carlos Chiara Dagny Dmitri Elif Emeka Farah Finn Greta Hana Hugo "
    "Ines Ivo Jonas Kaya Kemal Lars Leila Luca Maren Mei Milo Nadia Noor Oskar Paula Petra Quentin "
    "Rana Ravi Rosa Samir Selma Tariq Tilda Umar Vera Viktor Wanda Xenia Yara Yusuf Zoe"
)
PEOPLE = tuple(_PEOPLE.split())


class Level(StrEnum):
    """How hard the items of a task are."""

    easy = "easy"
    medium = "medium"
    hard = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A problem put into words, with its answer.

    Attributes:
        text: What a network reads, without the options.
        target: The right answer.
        source: The bare problem, the same whatever its wording and whatever is asked about it.
        wrong: The other options; empty if there is nothing to choose from.
    """

    text: str
    target: str
    source: str
    wrong: tuple[str, ...] = ()


def listed(parts: Sequence[str]) -> str:
    """Join the parts as in a sentence: ``a, b and c``."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def capitalized(text: str) -> str:
    """Return the text with a capital first letter and all else as it is."""
    return text[:1].upper() + text[1:]
