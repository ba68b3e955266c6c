"""The catalogue: how each task is put into words, kept in ``catalog/*.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from dln_core.tasks.answers import AnswerKind

_FAMILIES = ("paper", "gsm8k", "bbh", "generated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The wording of one task.

    Attributes:
        name: Name on the command line.
        kind: Family, the name of its file.
        instruction: The initial prompt.
        input_name: Name of the input's field.
        output_name: Name of the answer's field.
        labels: The answers, where all items share them; empty where each item prints its own.
        answer: How answers are read.
        max_answer_tokens: Tokens that suffice for a direct answer.
        notes: What a user should know of the data.
    """

    name: str
    kind: str
    instruction: str
    input_name: str
    output_name: str
    answer: AnswerKind
    max_answer_tokens: int
    labels: tuple[str, ...] = ()
    notes: str = ""


@cache
def cards() -> dict[str, Card]:
    """Return every task's card by name, family by family."""
    found: dict[str, Card] = {}
    for kind in _FAMILIES:
        for name, values in _family(kind).items():
            found[name] = _card(name, kind, values)
    return found


def _family(kind: str) -> dict[str, dict[str, Any]]:
    text = resources.files("dln_core.tasks").joinpath(f"catalog/{kind}.yaml").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)
    return entries


def _card(name: str, kind: str, values: dict[str, Any]) -> Card:
    return Card(
        name=name,
        kind=kind,
        instruction=" ".join(values["instruction"].split()),
        input_name=values["input_name"],
        output_name=values["output_name"],
        answer=AnswerKind(values["answer"]),
        max_answer_tokens=values["max_answer_tokens"],
        labels=tuple(values.get("labels", ())),
        notes=" ".join(values.get("notes", "").split()),
    )
