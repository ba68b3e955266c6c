"""Classification tasks from a lexicon: what is said decides the label, how it is said does not.

An item is a *core sentence* set into a *frame*.  The core carries the cue of its label; the frame
says nothing about it, or carries what a reader would wrongly go by.  A core is made from a *stem*:
a whole sentence that makes one item, or a sentence with slots that makes several.  An item's source
names its stem, and each stem serves one split, so that no test core can be known from training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import cycle, islice
from typing import Any, TypeVar

import yaml

from dln_core.tasks.splits import in_fixed_order, rank
from dln_core.types import Example, Splits

NAMES = ("triage", "routing")

T = TypeVar("T")

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """The words of one task, from ``generated/<name>.yaml``.

    Attributes:
        seed: Fixes which stems and fillers go where.
        items_per_stem: Cores made from one stem; 1 if the stems have no slots.
        stems_per_split: Stems of each label in train, dev and test.
        frames: Sentences around a core, by the impression that they make.
        impressions: For each label, the share of its items that gets each impression.
        stems: Core sentences, whole or with slots, by label.
        slots: What a slot can be filled with; empty if the stems are whole.
    """

    seed: int
    items_per_stem: int
    stems_per_split: dict[str, int]
    frames: dict[str, list[str]]
    impressions: dict[str, dict[str, float]]
    stems: dict[str, list[str]]
    slots: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Core:
    """A core sentence.

    Attributes:
        stem: Name of its stem, ``label-index``.
        number: Its place among the cores of that stem.
        text: The sentence, slots filled.
    """

    stem: str
    number: int
    text: str

    @property
    def name(self) -> str:
        """The core's own name, ``label-index/number``."""
        return f"{self.stem}/{self.number}"


@cache
def lexicon(name: str) -> Lexicon:
    """Return the lexicon of a task."""
    text = resources.files("dln_core.tasks.generated").joinpath(f"{name}.yaml").read_text("utf-8")
    values: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return Lexicon(**values)


def generate(name: str, labels: tuple[str, ...]) -> Splits:
    """Return the splits of a task.

    Args:
        name: Name of the task and its lexicon.
        labels: The labels, in the order that examples offer them.
    """
    words = lexicon(name)
    parts: dict[str, list[Example]] = {split: [] for split in words.stems_per_split}
    for label in labels:
        for split, stems in _shared_out(words, label):
            cores = [core for stem in stems for core in _cores(words, label, stem)]
            cores = _shuffled(words, f"cores {label} {split}", cores, lambda core: core.name)
            parts[split].extend(
                Example(
                    id=core.name,
                    input=_framed(core.text, frame),
                    target=label,
                    labels=labels,
                    source=core.stem,
                )
                for core, frame in zip(cores, _frames(words, label, len(cores)), strict=True)
            )
    return Splits(**{split: tuple(in_fixed_order(name, part)) for split, part in parts.items()})


def _shuffled(
    words: Lexicon, purpose: str, values: Iterable[T], text: Callable[[T], str]
) -> list[T]:
    """Return the values in an order that depends on their texts, the purpose and the seed alone."""
    return sorted(values, key=lambda value: rank(f"{words.seed} {purpose}", text(value)))


def _shared_out(words: Lexicon, label: str) -> Iterator[tuple[str, list[int]]]:
    """Deal the label's stems, as indices, out to the splits."""
    stems = words.stems[label]
    order = _shuffled(words, "stems", range(len(stems)), lambda index: stems[index])
    start = 0
    for split, count in words.stems_per_split.items():
        yield split, order[start : start + count]
        start += count


def _cores(words: Lexicon, label: str, stem: int) -> list[Core]:
    """Make the cores of a stem: its slots, if any, are filled with another word each time."""
    text = words.stems[label][stem]
    fillers = {
        slot: _shuffled(words, f"{slot} in {text}", words.slots[slot], str)
        for slot in _SLOT.findall(text)
    }
    return [
        Core(
            f"{label.lower()}-{stem}",
            number,
            text.format(**{slot: chosen[number] for slot, chosen in fillers.items()}),
        )
        for number in range(words.items_per_stem)
    ]


def _frames(words: Lexicon, label: str, count: int) -> Iterator[str]:
    """Yield ``count`` frames in the label's shares, those of an impression equally often."""
    left = count
    shares = words.impressions[label]
    for position, (impression, share) in enumerate(shares.items(), start=1):
        number = left if position == len(shares) else round(share * count)
        yield from islice(cycle(words.frames[impression]), number)
        left -= number


def _framed(core: str, frame: str) -> str:
    return frame.format(core=core, Core=core[0].upper() + core[1:])
