"""Which task, and how much of its data."""

from __future__ import annotations

from dataclasses import dataclass

from dln_core.config.checks import require_positive


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """Which task, and what the user changes of it; None keeps the task's own."""

    name: str = "triage"
    instruction: str | None = None


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
