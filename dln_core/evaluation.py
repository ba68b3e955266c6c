"""Running a network over a split and judging its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.concurrency import map_bounded
from dln_core.llm.base import LanguageModel
from dln_core.network import Network
from dln_core.tasks.task import Task
from dln_core.trace import Trace
from dln_core.types import Example, Role


@dataclass(frozen=True, slots=True)
class Prediction:
    """An example, what the network wrote on it, and whether that is right."""

    example: Example
    trace: Trace
    is_correct: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what a reader of results needs, as plain JSON values."""
        return {
            "id": self.example.id,
            "input": self.example.input,
            "target": self.example.target,
            "prediction": self.trace.prediction,
            "hidden": list(self.trace.hidden),
            "correct": self.is_correct,
        }


async def evaluate(
    network: Network,
    model: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    *,
    role: Role,
) -> list[Prediction]:
    """Run the network on every example and judge each answer.

    Args:
        network: What is evaluated.
        model: The language model of its layers.
        task: Judges the answers.
        examples: In the order of the predictions.
        role: What the calls are counted as.
    """

    async def one(example: Example) -> Prediction:
        trace = await network.run(model, example, role=role)
        return Prediction(example, trace, task.judge(trace.prediction, example.target))

    return await map_bounded(one, examples)


def accuracy(predictions: Sequence[Prediction]) -> float:
    """Share of right answers."""
    return sum(prediction.is_correct for prediction in predictions) / len(predictions)
