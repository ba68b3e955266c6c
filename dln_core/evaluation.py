"""Running a network over a split and judging its answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.concurrency import map_surviving, parted
from dln_core.errors import RequestError
from dln_core.failures import reason
from dln_core.llm.base import LanguageModel
from dln_core.metrics import interval, measured
from dln_core.network import Network
from dln_core.tasks.task import Task, Verdict
from dln_core.trace import Trace
from dln_core.types import Example, Role
from dln_core.voting import Answer

# Of so many items the hidden texts are recorded at each validation.
NUM_SAMPLES = 3
# What is left of a forward pass that failed.
_NOTHING = Trace(texts=(), answer=Answer(""))


@dataclass(frozen=True, slots=True)
class Prediction:
    """An example, what the network wrote on it, and whether that is right.

    Attributes:
        example: The example.
        trace: What the network wrote; empty if it failed.
        verdict: What the judge says of its answer.
        failure: The refusal that its forward pass ended with, if it failed.
    """

    example: Example
    trace: Trace
    verdict: Verdict
    failure: RequestError | None = None

    @property
    def is_correct(self) -> bool:
        """Whether its answer is right."""
        return self.verdict.is_right

    def to_dict(self) -> dict[str, Any]:
        """Return what a reader of results needs, as plain JSON values."""
        values = {
            "id": self.example.id,
            "input": self.example.input,
            "target": self.example.target,
            "prediction": self.trace.prediction,
            "hidden": list(self.trace.hidden),
            **self.verdict.to_dict(),
        }
        # Only where there is one: most items have none.
        if self.example.source:
            values["group"] = self.example.source
        if self.failure is not None:
            values["failure"] = reason(self.failure)
        return values


async def evaluate(
    network: Network,
    model: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    *,
    role: Role,
) -> list[Prediction]:
    """Run the network on every example and judge each answer.

    An example that the endpoint refuses has an empty, wrong prediction that names the reason.

    Args:
        network: What is evaluated.
        model: The language model of its layers.
        task: Judges the answers.
        examples: In the order of the predictions.
        role: What the calls are counted as.

    Raises:
        RequestError: The first refusal, if no example is left: then not the data is at fault.
        LLMError: If a request failed for any other reason.
    """

    async def one(example: Example) -> Prediction:
        trace = await network.run(model, example, role=role)
        return Prediction(example, trace, await task.judged(trace.prediction, example))

    return await collected(one, task, examples)


async def collected(
    predict: Callable[[Example], Awaitable[Prediction]], task: Task, examples: Sequence[Example]
) -> list[Prediction]:
    """Make a prediction of every example; those that are refused have an empty, wrong one.

    Raises:
        RequestError: The first refusal, if no example is left.
        LLMError: If a request failed for any other reason.
    """
    outcomes = await map_surviving(predict, examples)
    known, refusals = parted(outcomes)
    if refusals and not known:
        raise refusals[0]
    return [
        Prediction(example, _NOTHING, task.no_answer(), outcome)
        if isinstance(outcome, RequestError)
        else outcome
        for example, outcome in zip(examples, outcomes, strict=True)
    ]


def samples(predictions: Sequence[Prediction]) -> tuple[dict[str, Any], ...]:
    """What a network with hidden layers wrote on the first items, for the record."""
    shown = predictions[:NUM_SAMPLES]
    return tuple(prediction.to_dict() for prediction in shown if prediction.trace.hidden)


def accuracy(predictions: Sequence[Prediction]) -> float:
    """Share of right answers."""
    return sum(prediction.is_correct for prediction in predictions) / len(predictions)


def on_metric(predictions: Sequence[Prediction], metric: str) -> float:
    """Value of a task's metric, from 0 to 1."""
    return measured(metric, [prediction.to_dict() for prediction in predictions])


def tested(predictions: Sequence[Prediction], metric: str) -> dict[str, Any]:
    """Value of a task's metric with its 95 % interval, as plain JSON values.

    The value is called accuracy whatever the metric is; ``metric`` says so where it is another.
    """
    items = [prediction.to_dict() for prediction in predictions]
    low, high = interval(metric, items)
    values = {
        "num_items": len(predictions),
        "num_correct": sum(prediction.is_correct for prediction in predictions),
        "accuracy": measured(metric, items),
        "low": low,
        "high": high,
    }
    return values if metric == "accuracy" else values | {"metric": metric}


def failed(predictions: Sequence[Prediction]) -> list[RequestError]:
    """Why examples failed, in their order."""
    return [prediction.failure for prediction in predictions if prediction.failure is not None]
