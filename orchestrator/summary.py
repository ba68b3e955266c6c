"""What the events of one trial add up to: the figures of its row in the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dln_core.metrics import judged

USAGE_FIELDS = {
    "calls": "calls",
    "prompt_tokens": "tokens_prompt",
    "completion_tokens": "tokens_completion",
    "paid_calls": "paid_calls",
    "paid_prompt_tokens": "paid_tokens_prompt",
    "paid_completion_tokens": "paid_tokens_completion",
}


@dataclass(slots=True)
class TrialSummary:
    """The running totals of a trial's events.

    Attributes:
        status: ``pending``, ``unfinished``, ``failed`` or ``finished``.
        rung: How texts are scored, once the endpoint was probed.
        endpoint_rung: The best that the endpoint offered, of which the trial may use less.
        api: Which of its interfaces is used: ``chat`` or ``completions``.
        dev_accuracy: Of the best network so far, or the value of the task's other metric.
        elbo: The last ``train/elbo`` in nats; None without log-probs.
        steps: Training steps done.
        usage: Calls and tokens by column of the results.
        cost_usd: None as soon as the price of any event is unknown.
        seconds: Time spent in the recorded steps.
        test: The test event's figures; None before the trial has finished.
        items: What the metric reads of each test item, by its id.
        network: The network of the last event; the best one once finished.
        stopped: ``budget`` if training ended early.
        error: The message of the failure that stands, if any.
    """

    status: str = "pending"
    rung: str | None = None
    endpoint_rung: str | None = None
    api: str | None = None
    dev_accuracy: float | None = None
    elbo: float | None = None
    steps: int = 0
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USAGE_FIELDS.values(), 0))
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    test: dict[str, Any] | None = None
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    network: dict[str, Any] | None = None
    stopped: str | None = None
    error: str | None = None

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens that the trial asked for."""
        return self.usage["tokens_prompt"] + self.usage["tokens_completion"]

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
        self.error = event.get("error")
        if event["kind"] == "failed":
            self.status = "failed"
            return
        self.status = "finished" if event["kind"] == "finish" else "unfinished"
        self.rung = event.get("rung", self.rung)
        self.endpoint_rung = event.get("endpoint_rung", self.endpoint_rung)
        self.api = event.get("api", self.api)
        self.steps = event["step"]
        self.dev_accuracy = event["best"]["dev_accuracy"]
        self.elbo = event["metrics"].get("train/elbo", self.elbo)
        self.network = event.get("best_network", event.get("network"))
        self._add_cost(event)
        if event["kind"] == "finish":
            self.test = event["test"]
            self.stopped = event["stopped"]
            self.items = {item["id"]: judged(item) for item in event["predictions"]}

    def _add_cost(self, event: dict[str, Any]) -> None:
        for counts in event["usage"].values():
            for source, column in USAGE_FIELDS.items():
                self.usage[column] += counts[source]
        if self.cost_usd is not None:
            cost_usd = event["cost_usd"]
            self.cost_usd = None if cost_usd is None else self.cost_usd + cost_usd
        self.seconds += event["seconds"]
