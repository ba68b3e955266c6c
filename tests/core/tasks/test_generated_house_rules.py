"""House rules: the rule as a table, and what the text tells of a book."""

from __future__ import annotations

import re

import pytest

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.house_rules import (
    BOOKS,
    DATES,
    READERS,
    STATES,
    Return,
    Topic,
    draw,
    solve,
)
from dln_core.tasks.generated.items import Level


@pytest.mark.parametrize(
    ("level", "book", "trolley"),
    [
        (Level.easy, Return(Topic.travel, True, True, True), "Green"),
        (Level.easy, Return(Topic.cooking, False, True, False), "Red"),
        (Level.easy, Return(Topic.history, True, False, True), "Blue"),
        (Level.medium, Return(Topic.travel, True, False, True), "Red"),
        (Level.medium, Return(Topic.travel, False, True, True), "Green"),
        (Level.medium, Return(Topic.history, True, True, False), "Red"),
        (Level.hard, Return(Topic.history, True, True, True), "Green"),
        (Level.hard, Return(Topic.travel, True, True, False), "Red"),
        (Level.hard, Return(Topic.cooking, False, True, True), "Blue"),
        (Level.hard, Return(Topic.cooking, False, False, True), "Red"),
        (Level.hard, Return(Topic.travel, False, False, False), "Green"),
    ],
)
def test_the_rule_is_the_one_that_the_catalogue_tells(level, book, trolley):
    assert solve(book, level) == trolley


def told(text: str, phrases: dict[bool, tuple[str, ...]]) -> bool:
    """Return which of two opposite things the text says."""
    (value,) = {value for value, group in phrases.items() if any(p in text for p in group)}
    return value


@pytest.mark.parametrize("level", Level)
def test_the_text_tells_all_that_the_rule_asks(level):
    dice = Dice(1, "text")
    for _ in range(200):
        item = draw(dice, level)
        (topic,) = {
            topic
            for topic, (forms, subjects) in BOOKS.items()
            if any(form in item.text.lower() for form in forms)
            and any(re.search(rf"\b{subject}\b", item.text) for subject in subjects.split())
        }
        book = Return(
            topic, told(item.text, STATES), told(item.text, DATES), told(item.text, READERS)
        )
        assert solve(book, level) == item.target, item.text
