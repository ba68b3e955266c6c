"""BIG-bench items worded like BBH's: train and dev of four of the paper's tasks.

Source: Srivastava et al., "Beyond the Imitation Game", arXiv 2206.04615.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from dln_core.tasks import bbh
from dln_core.tasks.cards import Card
from dln_core.tasks.sources import DataReader
from dln_core.tasks.splits import Key, group_key, normalized, rank
from dln_core.types import Example

_FILES = {
    "hyperbaton": "hyperbaton",
    "navigate": "navigate",
    "date_understanding": "date_understanding",
    "logical_deduction_seven_objects": "logical_deduction/seven_objects",
}
_HYPERBATON = re.compile(r'a " (?P<a>.*?) " b " (?P<b>.*?) " \?')
NAVIGATE = "If you follow these instructions, do you return to the starting point?"
_LOGICAL_DEDUCTION = (
    "The following paragraphs each describe a set of seven objects arranged in a fixed order. "
    "The statements are logically consistent within each paragraph."
)
_DATE_QUESTION = re.compile(r"\s*What is the date.*$", re.DOTALL)


def path_of(name: str) -> str:
    """Return the BIG-bench file that belongs to a BBH task."""
    return f"big-bench/bigbench/benchmark_tasks/{_FILES[name]}/task.json"


def read_items(card: Card, reader: DataReader, at_most: int) -> list[Example]:
    """Return items of the BIG-bench task, worded as BBH words them.

    Args:
        card: The task.
        reader: Reads its file.
        at_most: How many to return of a longer file: the first in the task's fixed order.
    """
    items = raw_items(card.name, reader)
    order = sorted(range(len(items)), key=lambda index: rank(card.name, items[index]["input"]))
    return [as_bbh(card.name, index, items[index]) for index in order[:at_most]]


def raw_items(name: str, reader: DataReader) -> list[dict[str, Any]]:
    """Return the items of the BIG-bench task as its file has them."""
    items: list[dict[str, Any]] = orjson.loads(reader.read(path_of(name)))["examples"]
    return items


def as_bbh(name: str, index: int, item: dict[str, Any]) -> Example:
    """Word the item at a place of the file as BBH words it."""
    return _CONVERTERS[name](index, item)


def as_test_item(name: str, example: Example) -> Example:
    """Give a BBH item the source that its BIG-bench counterpart has."""
    return replace(example, source=_SOURCES[name](example.input))


def _story(example: Example) -> str:
    return _DATE_QUESTION.sub("", example.source)


# The 41 stories of date_understanding all occur in BBH, so train and dev cannot avoid the test
# set's stories, only its questions; but they share none with each other.
GROUP_KEYS: dict[str, Key] = {
    "hyperbaton": group_key,
    "navigate": group_key,
    "date_understanding": _story,
    "logical_deduction_seven_objects": group_key,
}


def _question(text: str) -> str:
    return normalized(text.partition("\nOptions:")[0])


def _words_of_first_option(text: str) -> str:
    phrase = text.partition("(A) ")[2].partition("\n")[0]
    return " ".join(sorted(phrase.split()))


_SOURCES: dict[str, Callable[[str], str]] = {
    "hyperbaton": _words_of_first_option,
    "navigate": _question,
    "date_understanding": _question,
    "logical_deduction_seven_objects": _question,
}


def _multiple_choice(
    name: str, index: int, question: str, options: list[str], right: str
) -> Example:
    text = bbh.with_options(question, options)
    letters = tuple(f"({chr(ord('A') + i)})" for i in range(len(options)))
    return Example(
        id=f"bigbench-{index}",
        input=text,
        target=letters[options.index(right)],
        labels=letters,
        source=_SOURCES[name](text),
    )


def _right(item: dict[str, Any]) -> str:
    scores: dict[str, int] = item["target_scores"]
    return max(scores, key=lambda option: scores[option])


def _hyperbaton(index: int, item: dict[str, Any]) -> Example:
    found = _HYPERBATON.search(item["input"])
    if found is None:
        raise ValueError(f"hyperbaton item {index} does not show two phrases: {item['input']}")
    question = "Which sentence has the correct adjective order:"
    return _multiple_choice(
        "hyperbaton", index, question, [found["a"], found["b"]], found[_right(item)]
    )


def _navigate(index: int, item: dict[str, Any]) -> Example:
    question = f"{NAVIGATE} {item['input']}"
    return Example(
        id=f"bigbench-{index}",
        input=f"{question}\nOptions:\n- Yes\n- No",
        target="Yes" if _right(item) == "True" else "No",
        labels=("Yes", "No"),
        source=normalized(question),
    )


def _date_understanding(index: int, item: dict[str, Any]) -> Example:
    # Upstream lists the right date first; BBH shuffles, and so must we.
    question = item["input"]
    options = sorted(item["target_scores"], key=lambda option: rank(question, option))
    return _multiple_choice("date_understanding", index, question, options, _right(item))


def _logical_deduction(index: int, item: dict[str, Any]) -> Example:
    options = [option.removesuffix(".") for option in item["target_scores"]]
    question = f"{_LOGICAL_DEDUCTION} {item['input']}"
    name = "logical_deduction_seven_objects"
    return _multiple_choice(name, index, question, options, _right(item).removesuffix("."))


_CONVERTERS: dict[str, Callable[[int, dict[str, Any]], Example]] = {
    "hyperbaton": _hyperbaton,
    "navigate": _navigate,
    "date_understanding": _date_understanding,
    "logical_deduction_seven_objects": _logical_deduction,
}
