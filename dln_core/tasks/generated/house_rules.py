"""A library's own rule for returned books, told by examples alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dln_core.tasks.generated.dice import Dice
from dln_core.tasks.generated.items import PEOPLE, Item, Level, capitalized


class Topic(StrEnum):
    """What a book is about."""

    travel = "travel"
    cooking = "cooking"
    history = "history"


@dataclass(frozen=True, slots=True)
class Return:
    """A book that is brought back."""

    topic: Topic
    is_damaged: bool
    is_late: bool
    by_child: bool


_TROLLEY_OF = {Topic.travel: "Green", Topic.cooking: "Red", Topic.history: "Blue"}


def solve(book: Return, level: Level) -> str:
    """Return the trolley that the book goes on.

    Easy: the topic decides.  Medium: a damaged book goes on Red, whatever its topic.  Hard: a book
    that a child has damaged goes on Green, one that a grown-up has damaged on Red, else a late one
    on Blue; of all others, the topic decides.
    """
    if book.is_damaged and level is not Level.easy:
        return "Green" if level is Level.hard and book.by_child else "Red"
    if book.is_late and level is Level.hard:
        return "Blue"
    return _TROLLEY_OF[book.topic]


BOOKS = {
    Topic.travel: (
        ("a guide to", "a road map of", "a travel diary from", "a picture book of beaches in"),
        "Portugal Iceland Morocco Vietnam Chile Scotland Croatia Kenya Norway Peru Malta Laos",
    ),
    Topic.cooking: (
        ("a collection of recipes for", "a cookbook about", "a baker's handbook on",
         "a chef's notes on"),
        "dumplings pancakes stews curries noodles pies sauces salads omelettes waffles soups tarts",
    ),
    Topic.history: (
        ("a chronicle of", "a history of", "an essay on the fall of", "a study of life under"),
        "Rome Carthage Byzantium Babylon Sparta Troy Assyria Persia Mycenae Sumer Thebes Etruria",
    ),
}  # fmt: skip
STATES = {
    True: ("Its spine is broken.", "Several pages are torn.", "Tea has been spilt on it.",
           "A corner is chewed off.", "It fell into a puddle.", "The binding has come apart."),
    False: ("It is in good shape.", "It looks as good as new.", "Not a page is creased.",
            "It has been handled with care.", "There is no mark on it.", "It is spotless."),
}  # fmt: skip
DATES = {
    True: ("It was due last week.", "It is nine days late.", "Two reminders had been sent.",
           "It should have been here a month ago."),
    False: ("It was not due before Friday.", "It is back a week early.", "It is back in time.",
            "Two weeks of the loan were left."),
}  # fmt: skip
READERS = {
    True: ("a schoolboy", "a girl of seven", "a pupil of the second form", "a little boy"),
    False: ("a teacher", "a retired nurse", "a taxi driver", "a father of three"),
}
_COVERS = ("The cover is red.", "The cover is green.", "The cover is blue.")


def draw(dice: Dice, level: Level) -> Item:
    """Make a returned book; the colour of its cover says nothing."""
    book = Return(dice.pick(tuple(Topic)), dice.chance(35), dice.chance(35), dice.chance(50))
    forms, subjects = BOOKS[book.topic]
    title = f"{dice.pick(forms)} {dice.pick(subjects.split())}"
    name, reader = dice.pick(PEOPLE), dice.pick(READERS[book.by_child])
    opening = dice.pick(
        (
            f"{name}, {reader}, brings back {title}.",
            f"{title} is returned by {name}, {reader}.",
            f"{name} hands in {title}. {name} is {reader}.",
        )
    )
    remarks = [
        dice.pick(STATES[book.is_damaged]),
        dice.pick(DATES[book.is_late]),
        dice.pick(_COVERS),
    ]
    text = " ".join([capitalized(opening), *dice.shuffled(remarks)])
    source = repr((title, sorted(remarks), reader))
    return Item(text=text, target=solve(book, level), source=source)
