"""What a call costs in tokens, and how large a task is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dln_core.tasks import Task

CHARS_PER_TOKEN = 4.0
# Turn markers, field names and the fixed words of a template.
TEMPLATE_TOKENS = 40.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Calls and tokens that are expected."""

    calls: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def times(self, factor: float) -> Cost:
        """Return this cost as often as ``factor`` says."""
        return Cost(
            self.calls * factor, self.prompt_tokens * factor, self.completion_tokens * factor
        )

    @property
    def tokens(self) -> float:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens


def add_up(costs: Iterable[Cost]) -> Cost:
    """Sum costs up."""
    return sum(costs, Cost())


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSize:
    """How large a task is: examples, labels, and mean lengths in tokens.

    ``label_tokens`` is the length of all labels of an example together, 0 where answers are
    written: for free text, and for models that give no log-probs of labels.
    """

    num_train: int
    num_dev: int
    num_test: int
    num_labels: int
    input_tokens: float
    target_tokens: float
    label_tokens: float
    instruction_tokens: float


def measure(task: Task) -> TaskSize:
    """Measure a task's examples; its texts are counted at four characters a token."""
    splits = task.splits
    examples = (*splits.train, *splits.dev, *splits.test)
    return TaskSize(
        num_train=len(splits.train),
        num_dev=len(splits.dev),
        num_test=len(splits.test),
        num_labels=len(task.labels),
        input_tokens=_mean_tokens([example.input for example in examples]),
        target_tokens=_mean_tokens([example.target for example in examples]),
        label_tokens=_mean_tokens(["".join(example.labels) for example in examples]),
        instruction_tokens=num_tokens(task.instruction),
    )


def answer_call(size: TaskSize, prompt_tokens: float) -> Cost:
    """One answer: the labels are scored where there are any, else it is written."""
    if size.label_tokens:
        return Cost(1.0, prompt_tokens + size.label_tokens, 0.0)
    return Cost(1.0, prompt_tokens, size.target_tokens + 1)


def num_tokens(text: str) -> float:
    """Expected tokens of a text."""
    return len(text) / CHARS_PER_TOKEN


def _mean_tokens(texts: Sequence[str]) -> float:
    return sum(map(num_tokens, texts)) / max(1, len(texts))
