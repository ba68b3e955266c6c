"""Which task, and how much of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dln_core.config.checks import require, require_choice, require_positive

FORMATS = ("csv", "jsonl", "huggingface")
METRICS = ("accuracy", "macro_f1", "mean_score")


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """Which task, and what the user changes of it; None keeps the task's own.

    A task of the user's own is read from files; it needs ``format``, ``path``, ``input`` and
    ``label``.

    Attributes:
        name: A task of the catalogue, or any name for the user's own data.
        instruction: The initial prompt.
        split: For the paper's tasks ``paper`` or ``paper_code``; for the user's own data the field
            that says train, dev or test.  None takes the task's own split, or makes one.
        judge: How answers are compared: a kind of answer, ``exact``, ``set``, ``regex``,
            ``f1:THRESHOLD``, ``llm`` (a language model) or a function ``module:function``.
        metric: What networks are compared by on dev and test: ``accuracy``, ``macro_f1`` (of tasks
            with labels) or ``mean_score`` (of what the judge gives).
        format: ``csv``, ``jsonl`` or ``huggingface``; None for a task of the catalogue.
        path: File, or folder with a file for each split.
        input: Field that holds what the network reads.
        label: Field that holds the right answer.
        labels: The answers to choose from; none at all means free text, None looks at the data.
    """

    name: str = "triage"
    instruction: str | None = None
    split: str | None = None
    judge: str | None = None
    metric: str = "accuracy"
    format: str | None = None
    path: str | None = None
    input: str | None = None
    label: str | None = None
    labels: list[str] | None = None

    def __post_init__(self) -> None:
        require_choice("task.metric", self.metric, METRICS)
        own = {"path": self.path, "input": self.input, "label": self.label}
        if self.format is None:
            for name, value in (own | {"labels": self.labels}).items():
                require(
                    value is None,
                    f"task={self.name} brings its own data, so task.{name} says nothing; leave it "
                    f"out, or read data of your own with task={', '.join(FORMATS)}",
                )
            return
        require_choice("task.format", self.format, FORMATS)
        missing = [f"task.{name}" for name, value in own.items() if not value]
        require(
            not missing,
            f"task={self.format} lacks {', '.join(missing)}; give the file and its fields, e.g. "
            f"task={self.format} task.path=mine.{self.format} task.input=text task.label=answer",
        )
        if self.labels is not None:
            self.labels = _texts(self.labels)
        # Workers may stand in another folder.
        self.path = str(Path(self.path or "").expanduser().resolve())


def _texts(labels: Any) -> list[str]:
    """Labels as texts: a file or a notebook may hold anything."""
    require(
        isinstance(labels, list | tuple),
        f"task.labels={labels!r:.40} is no list; write [{labels!r:.40}, …]",
    )
    for label in labels:
        # A truth value is an integer too.
        require(
            isinstance(label, str | int | float) and not isinstance(label, bool),
            f"task.labels holds {label!r:.40}, which is no text; YAML reads words such as Yes, No, "
            "On and Off as truth values, so quote them: ['Yes', 'No']",
        )
    texts = [str(label) for label in labels]
    twice = [text for text in dict.fromkeys(texts) if texts.count(text) > 1]
    require(not twice, f"task.labels holds {', '.join(twice)} twice; list each label once")
    return texts


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """Where data is read from and how much of each split is used.

    Attributes:
        dir: Folder in the layout of the pinned sources; None means the user's cache.
        max_train: Upper bound on the training split; None keeps all.
        max_dev: The same for dev.
        max_test: The same for test.
    """

    dir: str | None = None
    max_train: int | None = None
    max_dev: int | None = None
    max_test: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_train", "max_dev", "max_test"):
            require_positive(f"data.{name}", getattr(self, name))
