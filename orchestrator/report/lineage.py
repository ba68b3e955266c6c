"""How the best network of a trial came about: each change that led to it, and what it gained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

# A text of more words is too long to compare word by word.
_MOST_WORDS = 4000


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt that stayed (``same``), came (``new``) or went (``gone``).

    Of what is merely counted, the text says how much was ``kept``.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A prompt that was replaced.

    Attributes:
        layer: Name of its layer, with the number of the prompt if there are several.
        source: What kind of proposal made the new one.
        gain: By how much its reward exceeds the old one's on the examples of the step; None if
            either has none.
        is_rough: Whether racing dropped the old one before it was scored on all of them.
        pieces: The new text against the old one.
    """

    layer: str
    source: str
    gain: float | None
    is_rough: bool
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A network on the way to the best one.

    Attributes:
        step: The step that made it; 0 for the initial one.
        dev_accuracy: What it is worth on dev; None if it was not validated.
        changes: What the step changed.
    """

    step: int
    dev_accuracy: float | None
    changes: tuple[Change, ...]


@dataclass(slots=True)
class Lineage:
    """The stages from the initial network to the best one, and hidden texts of both.

    Attributes:
        stages: In order; the first is the initial network.
        before: What the initial network wrote on a few dev items, where it has hidden layers.
        after: What the best one wrote on the same items.
        network: The best network.
    """

    stages: list[Stage] = field(default_factory=list)
    before: list[dict[str, Any]] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def hidden(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The items that were recorded both before and after training."""
        after = {sample["id"]: sample for sample in self.after}
        return ((one, after[one["id"]]) for one in self.before if one["id"] in after)


def trace_lineage(events: Iterable[dict[str, Any]]) -> Lineage:
    """Follow a trial to its best network; dead ends that training came back from are left out."""
    lineage, path = Lineage(), list[tuple[Any, dict[str, Any]]]()
    for event in events:
        if event["kind"] not in ("start", "step"):
            continue
        prompts = _prompts(event["network"])
        known = next((i for i, (other, _) in enumerate(path) if other == prompts), None)
        if known is None:
            path.append((prompts, event))
        else:
            # Nothing changed, or training went back to an earlier network.
            path = path[: known + 1]
            if "dev/accuracy" in event["metrics"]:
                path[known][1]["metrics"].setdefault(
                    "dev/accuracy", event["metrics"]["dev/accuracy"]
                )
        if event["kind"] == "start":
            lineage.before = event.get("samples", [])
        if event["best"]["step"] == event["step"]:
            lineage.stages = list(_stages(path))
            lineage.after, lineage.network = event.get("samples", []), event["network"]
    return lineage


def _prompts(network: dict[str, Any]) -> list[Any]:
    return [layer.get("prompts", layer.get("tools")) for layer in network["layers"]]


def _stages(path: Sequence[tuple[Any, dict[str, Any]]]) -> Iterator[Stage]:
    previous: dict[str, Any] | None = None
    for _, event in path:
        changes = () if previous is None else tuple(_changes(previous, event))
        dev = event["metrics"].get("dev/accuracy")
        yield Stage(step=event["step"], dev_accuracy=dev, changes=changes)
        previous = event


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    chosen = {(c["layer"], c["prompt"]): c for c in after["candidates"] if c["selected"]}
    current = {(c["layer"], c["prompt"]): c for c in after["candidates"] if c["index"] == 0}
    pairs = zip(before["network"]["layers"], after["network"]["layers"], strict=True)
    for old_layer, new_layer in pairs:
        olds, news = old_layer.get("prompts", []), new_layer.get("prompts", [])
        for number, (old, new) in enumerate(zip(olds, news, strict=True)):
            if old == new:
                continue
            slot = (new_layer["name"], number)
            old_one, new_one = current.get(slot), chosen.get(slot)
            if new_one is None or any(new_one[key] != new[key] for key in new):
                # Training went back to its best network.
                old_one, new_one = None, {"source": "best so far"}
            suffix = f" · prompt {number + 1}" if len(news) > 1 else ""
            yield Change(
                layer=new_layer["name"] + suffix,
                source=new_one["source"],
                gain=_gain(old_one, new_one),
                is_rough=old_one is not None and old_one["num_examples"] < new_one["num_examples"],
                pieces=tuple(compare_prompts(old, new)),
            )


def _gain(old: dict[str, Any] | None, new: dict[str, Any]) -> float | None:
    if old is None or old["reward"] is None or new["reward"] is None:
        return None
    return float(new["reward"] - old["reward"])


def compare_prompts(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Piece]:
    """Tell what stayed, came and went: of the instruction by words, of worked examples as wholes.

    Worked examples that stayed are only counted.
    """
    yield from compare_texts(before["instruction"], after["instruction"])
    olds, news = (
        [f"{shown['input']}\n\N{RIGHTWARDS ARROW} {shown['output']}" for shown in each]
        for each in (before["demonstrations"], after["demonstrations"])
    )
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            yield Piece("kept", f"{j - i} worked example{'s' if j - i > 1 else ''} kept")
        else:
            yield from (Piece("gone", f"\n\n{text}") for text in olds[i:j])
            yield from (Piece("new", f"\n\n{text}") for text in news[k:m])


def compare_texts(before: str, after: str) -> Iterator[Piece]:
    """Tell what stayed, came and went, word by word."""
    olds, news = (re.findall(r"\s+|[^\s]+", text) for text in (before, after))
    if max(len(olds), len(news)) > _MOST_WORDS:
        yield from (Piece("gone", before), Piece("new", after))
        return
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(olds[i:j]))
            continue
        if j > i:
            yield Piece("gone", "".join(olds[i:j]))
        if m > k:
            yield Piece("new", "".join(news[k:m]))
