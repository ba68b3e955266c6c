"""BIG-Bench Hard: 27 tasks, one JSON file each.

Source: Suzgun et al., "Challenging BIG-Bench Tasks and Whether Chain-of-Thought Can Solve Them",
arXiv 2210.09261.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from dln_core.tasks.cards import Card
from dln_core.tasks.sources import DataReader
from dln_core.tasks.splits import carve, normalized
from dln_core.types import Example, Splits

TRAIN_SIZE = 50
DEV_SIZE = 75

_BEFORE_OPTIONS = r"(.*?) Options:"
_OPENING_SENTENCE = r"\S.*?causation\? (.*?[.!?]) "
_STORY_BEFORE_QUESTION = r"(.*) At the end of .* Options:"

# Where several items ask about one text, the group in the pattern is that text.
_SHARED_TEXT = {
    "causal_judgement": _OPENING_SENTENCE,
    "disambiguation_qa": r".*?Sentence: (.*?) Options:",
    "logical_deduction_three_objects": _BEFORE_OPTIONS,
    "logical_deduction_five_objects": _BEFORE_OPTIONS,
    "logical_deduction_seven_objects": _BEFORE_OPTIONS,
    "movie_recommendation": _BEFORE_OPTIONS,
    "ruin_names": _BEFORE_OPTIONS,
    "tracking_shuffled_objects_three_objects": _STORY_BEFORE_QUESTION,
    "tracking_shuffled_objects_five_objects": _STORY_BEFORE_QUESTION,
    "tracking_shuffled_objects_seven_objects": _STORY_BEFORE_QUESTION,
}
_PRONOUN = re.compile(r"\b(?:he|she|they|him|her|them|his|hers|their|theirs)\b", re.IGNORECASE)
_PRINTED_OPTION = re.compile(r"^(\([A-Z]\))", re.MULTILINE)

# Upstream cut three option lists at the commas inside their titles; the gold answer is a title.
_REPAIRED_OPTIONS = {
    "Monsters, Inc": (
        "Monsters, Inc",
        "Children of the Night",
        "The Incredible Shrinking Man",
        "Town & Country",
    ),
    "dearth, wind, & fire": (
        "eareth, wind, & fire",
        "earth, bind, & fire",
        "earthm wind, & fire",
        "dearth, wind, & fire",
    ),
    "rita, sue and bob poo": (
        "rita, sue and bob too",
        "rita, sue and bob poo",
        "rita, sue and box too",
        "rita,y sue and bob too",
    ),
}


def path_of(name: str) -> str:
    """Return the data file of a task."""
    return f"big-bench-hard/bbh/{name}.json"


def files(name: str) -> tuple[str, ...]:
    """Return the data files that a task reads."""
    return (path_of(name),)


def read(card: Card, reader: DataReader) -> Splits:
    """Return a task's fixed split: 50 train, 75 dev, the rest test."""
    train, dev, test = carve(card.name, read_items(card, reader), (TRAIN_SIZE, DEV_SIZE))
    return Splits(train=train, dev=dev, test=test)


def read_items(card: Card, reader: DataReader) -> list[Example]:
    """Return all items of a task in the order of the file."""
    items = orjson.loads(reader.read(path_of(card.name)))["examples"]
    return [_example(card, index, item) for index, item in enumerate(items)]


def with_options(question: str, options: list[str] | tuple[str, ...]) -> str:
    """Print the question with its options lettered, as BBH does."""
    lettered = (f"({chr(ord('A') + i)}) {option}" for i, option in enumerate(options))
    return "\n".join([question, "Options:", *lettered])


def _example(card: Card, index: int, item: dict[str, Any]) -> Example:
    text, target = item["input"], item["target"]
    if target in _REPAIRED_OPTIONS:
        options = _REPAIRED_OPTIONS[target]
        text = with_options(text.split("\nOptions:")[0], options)
        target = f"({chr(ord('A') + options.index(target))})"
    if card.labels:
        labels = card.labels
        target = next(label for label in labels if label.lower() == target.lower())
    else:
        labels = tuple(_PRINTED_OPTION.findall(text.partition("\nOptions:\n")[2]))
    return Example(
        id=f"bbh-{index}",
        input=text,
        target=target,
        labels=labels,
        source=shared_text(card.name, text),
    )


def shared_text(name: str, text: str) -> str:
    """Return the text that other items of the task may also ask about, or an empty string."""
    pattern = _SHARED_TEXT.get(name)
    found = re.match(pattern, normalized(text)) if pattern else None
    return _PRONOUN.sub("_", found[1]) if found else ""
