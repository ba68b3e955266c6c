"""What a call costs in tokens, and how large a task is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dln_core.tasks import Task

CHARS_PER_TOKEN = 4.0
_CHARS_PER_WORD = 5.5
# Markers around a turn of a conversation; words have none.
_TURN_TOKENS = 4.0
# Field names and the fixed words of a template.
TEMPLATE_TOKENS = 10.0


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
    written: for free text, and for models that give no log-probs of labels.  ``in_words`` says that
    the model's tokens are words.
    """

    num_train: int
    num_dev: int
    num_test: int
    num_labels: int
    input_tokens: float
    target_tokens: float
    label_tokens: float
    instruction_tokens: float
    in_words: bool = False

    @property
    def turn_tokens(self) -> float:
        """Tokens that mark a turn of a conversation."""
        return 0.0 if self.in_words else _TURN_TOKENS

    @property
    def chars_per_token(self) -> float:
        """Characters of running text a token."""
        return _CHARS_PER_WORD if self.in_words else CHARS_PER_TOKEN

    def num_tokens(self, text: str) -> float:
        """Expected tokens of a text."""
        return _num_tokens(text, self.in_words)


def measure(task: Task, *, in_words: bool = False) -> TaskSize:
    """Measure a task's examples.

    Args:
        task: Its texts are counted at four characters a token.
        in_words: Count words instead, as the simulated model does.
    """
    splits = task.splits
    examples = (*splits.train, *splits.dev, *splits.test)

    def mean(lengths: Iterable[float]) -> float:
        return sum(lengths) / max(1, len(examples))

    def length(text: str) -> float:
        return _num_tokens(text, in_words)

    return TaskSize(
        num_train=len(splits.train),
        num_dev=len(splits.dev),
        num_test=len(splits.test),
        num_labels=len(task.labels),
        input_tokens=mean(length(example.input) for example in examples),
        target_tokens=mean(max(1.0, length(example.target)) for example in examples),
        # No label is shorter than a token.
        label_tokens=mean(
            sum(max(1.0, length(label)) for label in example.labels) for example in examples
        ),
        instruction_tokens=length(task.instruction),
        in_words=in_words,
    )


def _num_tokens(text: str, in_words: bool) -> float:
    return len(text.split()) if in_words else len(text) / CHARS_PER_TOKEN


def answer_call(size: TaskSize, prompt_tokens: float) -> Cost:
    """One answer: the labels are scored where there are any, else it is written."""
    if size.label_tokens:
        return Cost(1.0, prompt_tokens + size.label_tokens, 0.0)
    return Cost(1.0, prompt_tokens, size.target_tokens + 1)
