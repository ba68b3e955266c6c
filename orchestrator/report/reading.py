"""What the report needs of the journals, read as streams: one event in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dln_core.metrics import judged

MAX_ANSWER_CHARS = 200
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a trial stood after a step; tokens and money are those spent up to there."""

    step: int
    tokens: int
    cost_usd: float | None
    metrics: dict[str, float]


@dataclass(slots=True)
class History:
    """What a trial went through.

    Attributes:
        points: One a step, the start included.
        lost: What refusals cost, by the metric that counts it, with the first reason.
    """

    points: list[Point] = field(default_factory=list)
    lost: dict[str, tuple[int, str]] = field(default_factory=dict)
    _tokens: int = 0
    _cost_usd: float | None = 0.0

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
        if "usage" in event:
            self._spend(event)
        for name, reason in event.get("failures", {}).items():
            number, first = self.lost.get(name, (0, reason))
            self.lost[name] = (number + int(event["metrics"].get(name, 1)), first)
        if event["kind"] in ("start", "step"):
            metrics = {name: event["metrics"][name] for name in CURVES if name in event["metrics"]}
            self.points.append(Point(event["step"], self._tokens, self._cost_usd, metrics))

    def _spend(self, event: dict[str, Any]) -> None:
        for counts in event["usage"].values():
            self._tokens += counts["prompt_tokens"] + counts["completion_tokens"]
        if self._cost_usd is not None:
            cost_usd = event["cost_usd"]
            self._cost_usd = None if cost_usd is None else self._cost_usd + cost_usd


CURVES = ("dev/accuracy", "train/elbo", "train/objective")


@dataclass(slots=True)
class Item:
    """A test item of a task, with what the shown methods made of it.

    Attributes:
        input: What was asked.
        target: The right answer.
        group: What it shares with others, if anything.
        asked: How often it was answered, by method.
        wrong: How often that was wrong, by method.
        answers: The wrong answers.
    """

    input: str
    target: str
    group: str | None
    asked: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class TaskItems:
    """The test items of a task by id, and how often each label was taken for which."""

    items: dict[str, Item] = field(default_factory=dict)
    confusion: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def add(self, method: str, predictions: Iterable[dict[str, Any]]) -> None:
        """Take in the answers of one trial."""
        table = self.confusion.setdefault(method, Counter())
        for given in predictions:
            item = self.items.get(given["id"])
            if item is None:
                item = Item(given.get("input", ""), given["target"], given.get("group"))
                self.items[given["id"]] = item
            item.asked[method] += 1
            answer = " ".join(str(given.get("label") or given["prediction"]).split())
            answer = answer[:MAX_ANSWER_CHARS]
            if not judged(given)["correct"]:
                item.wrong[method] += 1
                item.answers[answer] += 1
                table[given["target"], answer] += 1
            else:
                table[given["target"], given["target"]] += 1
