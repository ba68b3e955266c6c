"""What the events of one trial add up to: the figures of its row in the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dln_core.metrics import judged
from orchestrator.files import read_lines

# Kinds of events that hold a network and its figures; others say what became of the trial.
WORK = ("start", "step", "finish")
USAGE_FIELDS = {
    "calls": "calls",
    "prompt_tokens": "tokens_prompt",
    "completion_tokens": "tokens_completion",
    "paid_calls": "paid_calls",
    "paid_prompt_tokens": "paid_tokens_prompt",
    "paid_completion_tokens": "paid_tokens_completion",
}


def tokens_of(event: Mapping[str, Any]) -> int:
    """Add up the tokens that an event, or a row of reference points, says were asked for."""
    counts = event["usage"].values()
    return sum(each["prompt_tokens"] + each["completion_tokens"] for each in counts)


class Taken(NamedTuple):
    """What a unit of work took: tokens that it asked for, and seconds."""

    tokens: int
    seconds: float

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Taken:
        """Read it from an event that holds a usage."""
        return cls(tokens_of(event), event["seconds"])


class Validation(NamedTuple):
    """What was known of a trial once a training step was validated.

    Attributes:
        time: When the step ended, in Unix seconds.
        step: The step, from 1.
        dev_accuracy: Of the best network so far.
    """

    time: float
    step: int
    dev_accuracy: float

    @classmethod
    def of(cls, event: dict[str, Any]) -> Validation | None:
        """Read it from an event; None unless that is a step that was validated."""
        if event["kind"] != "step" or "dev/accuracy" not in event["metrics"]:
            return None
        return cls(event["time"], event["step"], event["best"]["dev_accuracy"])


@dataclass(slots=True)
class TrialSummary:
    """The running totals of a trial's events.

    Attributes:
        status: ``pending``, ``unfinished``, ``failed`` or ``finished``.
        rung: How texts are scored, once the endpoint was probed.
        endpoint_rung: The best that the endpoint offered, of which the trial may use less.
        api: Which of its interfaces is used: ``chat`` or ``completions``.
        judge_rung: How the model that judges scores verdicts; None where none judges.
        judge_api: Which of its interfaces is used.
        dev_accuracy: Of the best network so far, or the value of the task's other metric.
        validations: Of its steps, in their order.
        elbo: The last ``train/elbo`` in nats; None without log-probs.
        steps: Training steps done.
        num_units: Units of work recorded, with those that were given up.
        given_up: How often each kind of work was given up since it was last done.
        usage: Calls and tokens by column of the results.
        cost_usd: None as soon as the price of any event is unknown.
        seconds: Time spent in the recorded steps.
        taken: By the last event of each kind of work.
        test: The test event's figures; None before the trial has finished.
        predictions: File of the test items, from which they are read whenever they are asked for;
            None keeps them in memory.
        stop: Why training is to end, or has ended, before its last step: ``reason`` (``budget`` or
            ``pruned``), and the ``bound`` that was reached with its ``value``.
        stopped: The reason, if training ended early.
        test_looks: How often the test split was looked at: again if a larger budget went on.
        error: The message of the failure that stands, if any.
    """

    status: str = "pending"
    rung: str | None = None
    endpoint_rung: str | None = None
    api: str | None = None
    judge_rung: str | None = None
    judge_api: str | None = None
    dev_accuracy: float | None = None
    validations: list[Validation] = field(default_factory=list)
    elbo: float | None = None
    steps: int = 0
    num_units: int = 0
    given_up: Counter[str] = field(default_factory=Counter)
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USAGE_FIELDS.values(), 0))
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    taken: dict[str, Taken] = field(default_factory=dict)
    test: dict[str, Any] | None = None
    predictions: Path | None = None
    _items: dict[str, dict[str, Any]] = field(default_factory=dict)
    stop: dict[str, Any] | None = None
    stopped: str | None = None
    test_looks: int = 0
    error: str | None = None

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens that the trial asked for."""
        return self.usage["tokens_prompt"] + self.usage["tokens_completion"]

    @property
    def items(self) -> dict[str, dict[str, Any]]:
        """What the metric reads of each test item, by its id.

        Raises:
            JournalError: If their file cannot be read.
        """
        if self.predictions is None:
            return self._items
        return _judged_items(read_lines(self.predictions))

    def release(self, predictions: Path) -> None:
        """Forget the test items, which are in a file: a sweep may have thousands of trials."""
        if self._items:
            self._items, self.predictions = {}, predictions

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
        match event["kind"]:
            case "failed":
                self.status, self.error = "failed", event["error"]
            case "abandoned":
                self._add_cost(event)
                self.given_up[event.get("work", "step")] += 1
            case "stop":
                self.stop = {name: event[name] for name in ("reason", "bound", "value")}
            case "reopen":
                self.status, self.stop, self.stopped = "unfinished", None, None
                self.test, self.predictions, self._items = None, None, {}
            case _:
                self._add_work(event)

    def _add_work(self, event: dict[str, Any]) -> None:
        self.error = None
        self.status = "finished" if event["kind"] == "finish" else "unfinished"
        self.rung = event.get("rung", self.rung)
        self.endpoint_rung = event.get("endpoint_rung", self.endpoint_rung)
        self.api = event.get("api", self.api)
        self.judge_rung = event.get("judge_rung", self.judge_rung)
        self.judge_api = event.get("judge_api", self.judge_api)
        self.steps = event["step"]
        self.dev_accuracy = event["best"]["dev_accuracy"]
        validation = Validation.of(event)
        if validation is not None:
            self.validations.append(validation)
        self.elbo = event["metrics"].get("train/elbo", self.elbo)
        self._add_cost(event)
        self.taken[event["kind"]] = Taken.of(event)
        del self.given_up[event["kind"]]
        if event["kind"] == "finish":
            self.test = event["test"]
            self.test_looks += 1
            self.stopped = event["stopped"]
            self.predictions, self._items = None, _judged_items(event["predictions"])

    def _add_cost(self, event: dict[str, Any]) -> None:
        self.num_units += 1
        for counts in event["usage"].values():
            for source, column in USAGE_FIELDS.items():
                self.usage[column] += counts[source]
        if self.cost_usd is not None:
            cost_usd = event["cost_usd"]
            self.cost_usd = None if cost_usd is None else self.cost_usd + cost_usd
        self.seconds += event["seconds"]


def _judged_items(predictions: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["id"]: judged(item) for item in predictions}
