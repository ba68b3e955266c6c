"""A counting task with an exact solver: what is left in the store after a few events."""

from __future__ import annotations

import random
from collections.abc import Callable

from dln_core.tasks.splits import in_fixed_order
from dln_core.types import Example, Splits

NAME = "stock_count"
_SEED = 20240611
_SIZES = {"train": 200, "dev": 100, "test": 240}

# (container, contents): each kind of goods serves one split, so that no sentence recurs.
_GOODS = {
    "train": (
        ("jars", "honey"), ("tins", "paint"), ("bags", "rice"), ("boxes", "candles"),
        ("rolls", "tape"), ("bottles", "ink"), ("packs", "tea"), ("cans", "soup"),
    ),
    "dev": (("tubes", "glue"), ("sacks", "flour"), ("bars", "soap"), ("sheets", "felt")),
    "test": (
        ("spools", "thread"), ("crates", "apples"), ("bundles", "firewood"), ("cups", "yoghurt"),
        ("reams", "paper"), ("pots", "basil"), ("loaves", "bread"), ("blocks", "clay"),
    ),
}  # fmt: skip


def _between(rng: random.Random, low: int, end: int) -> int:
    """Draw an integer from low to end - 1."""
    # Of all draws, Python promises only those of random() to stay the same in later versions.
    return low + int(rng.random() * (end - low))


def _delivery(count: int, unit: str, rng: random.Random) -> tuple[str, int]:
    pallets, each = _between(rng, 2, 6), _between(rng, 3, 13)
    return f"A van brings {pallets} pallets with {each} {unit} each.", count + pallets * each


def _return(count: int, unit: str, rng: random.Random) -> tuple[str, int]:
    number = _between(rng, 2, 10)
    return f"Customers bring back {number} {unit} unopened.", count + number


def _sale(count: int, unit: str, rng: random.Random) -> tuple[str, int]:
    number = _between(rng, 2, count - 1)
    return f"The store sells {number} {unit}.", count - number


def _damage(count: int, unit: str, rng: random.Random) -> tuple[str, int]:
    number = _between(rng, 2, min(count - 1, 9))
    return f"A leak ruins {number} {unit}, and they are thrown away.", count - number


_EVENTS: tuple[Callable[[int, str, random.Random], tuple[str, int]], ...] = (
    _delivery,
    _return,
    _sale,
    _damage,
)
_FEWEST_TO_TAKE_FROM = 8


def generate(name: str) -> Splits:
    """Return the splits of the task; every item has its own story."""
    rng = random.Random(_SEED)
    parts: dict[str, tuple[Example, ...]] = {}
    for split, size in _SIZES.items():
        stories: dict[str, int] = {}
        while len(stories) < size:
            story, answer = _story(split, rng)
            stories[story] = answer
        examples = (
            Example(id=f"{split}-{i}", input=story, target=str(answer), source=story)
            for i, (story, answer) in enumerate(stories.items())
        )
        parts[split] = tuple(in_fixed_order(name, examples))
    return Splits(**parts)


def _story(split: str, rng: random.Random) -> tuple[str, int]:
    """Tell a store's day and count along."""
    goods = _GOODS[split]
    unit, contents = goods[_between(rng, 0, len(goods))]
    count = _between(rng, 12, 60)
    sentences = [f"In the morning the store has {count} {unit} of {contents}."]
    for _ in range(_between(rng, 2, 5)):
        # Events that take goods away come last in the tuple, and need some to take.
        choices = _EVENTS if count >= _FEWEST_TO_TAKE_FROM else _EVENTS[:2]
        sentence, count = choices[_between(rng, 0, len(choices))](count, unit, rng)
        sentences.append(sentence)
    sentences.append(f"How many {unit} of {contents} are left in the evening?")
    return " ".join(sentences), count
