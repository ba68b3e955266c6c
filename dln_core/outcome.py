"""What training and evaluation give back to a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dln_core.errors import ConfigError, ExportError
from dln_core.export.document import (
    document_text,
    network_document,
    network_from,
    read_document,
)
from dln_core.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a network does on a split.

    Attributes:
        accuracy: Share of right answers, or the value of the task's other metric.
        low: Lower end of its 95 % interval: Wilson's for accuracy, else by bootstrap.
        high: Its upper end.
        num_correct: Right answers.
        num_items: Items of the split.
        predictions: A row an item: ``id``, ``input``, ``target``, ``prediction``, ``hidden`` (the
            texts between), ``correct``, ``score`` or ``label`` where the metric is of those, and
            ``failure`` where the endpoint refused the item.
        metric: What ``accuracy`` is the value of: the task's metric.
    """

    accuracy: float
    low: float
    high: float
    num_correct: int
    num_items: int
    predictions: list[dict[str, Any]] = field(repr=False)
    metric: str = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training gave.

    Attributes:
        network: The network with the best dev accuracy.
        model: Name of the model that it was trained for.
        dev_accuracy: Its value of the task's metric on the dev split, by which it was chosen.
        test: Its one test.
        usage: Calls and tokens by role.
        cost_usd: Money spent, in US dollars; None where a price is not known.
        events: What a sweep would have recorded: the start, each step, the finish.
    """

    network: Network = field(repr=False)
    model: str
    dev_accuracy: float
    test: Evaluation
    usage: dict[str, dict[str, int]] = field(repr=False)
    cost_usd: float | None
    events: list[dict[str, Any]] = field(repr=False)

    @classmethod
    def of(
        cls,
        events: list[dict[str, Any]],
        model: str,
        usage: dict[str, dict[str, int]],
        cost_usd: float | None,
    ) -> Trained:
        """Read what the events of a whole trial say."""
        finish = events[-1]
        return cls(
            network=Network.from_dict(finish["best_network"]),
            model=model,
            dev_accuracy=finish["best"]["dev_accuracy"],
            test=Evaluation(**finish["test"], predictions=finish["predictions"]),
            usage=usage,
            cost_usd=cost_usd,
            events=events,
        )

    def save(self, path: str | Path) -> None:
        """Write the network as a sweep exports it, for ``load_network`` and ``network.init``.

        Raises:
            ConfigError: If the file cannot be written.
            ExportError: If what was written is read back as another network.
        """
        try:
            text = document_text(network_document(self.network, self.model))
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise ConfigError(
                f"the network cannot be written to {path} ({error.strerror}); give the path of a "
                "file in a folder that exists"
            ) from error
        if network_from(read_document(path), path) != self.network:
            raise ExportError(
                f"{path} holds another network than was to be written: a prompt has characters "
                "that no file can hold, or the file was changed meanwhile"
            )
