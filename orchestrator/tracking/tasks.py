"""What MLflow tells of a task: its data set, and the answers that a network chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dln_core.config import TrialSettings
from dln_core.tasks import load_task
from orchestrator.files import to_json

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

# What MLflow allows a digest.
MAX_DIGEST_CHARS = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """A task without its examples.

    Attributes:
        name: Name on the command line.
        kind: Its family.
        digest: SHA-256 (hex) over the examples and the answer kind.
        source: Where the data comes from.
        licence: Licence of the data.
        labels: All answers that an example may offer; empty for free text.
        num_examples: Size by split.
    """

    name: str
    kind: str
    digest: str
    source: str
    licence: str
    labels: tuple[str, ...]
    num_examples: dict[str, int]

    def dataset_input(self) -> DatasetInput:
        """Return the data set as an input of a run; its profile holds the sizes of the splits."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=self.name,
            digest=self.digest[:MAX_DIGEST_CHARS],
            source_type="dln_task",
            source=to_json({"task": self.name, "source": self.source, "licence": self.licence}),
            schema=to_json(
                {"mlflow_colspec": [{"type": "string", "name": n} for n in ("input", "target")]}
            ),
            profile=to_json({f"num_{name}": size for name, size in self.num_examples.items()}),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", self.kind)])


class TaskBook:
    """The tasks of a sweep; each is loaded once, and its examples are let go."""

    def __init__(self) -> None:
        self._facts: dict[str, TaskFacts] = {}

    def facts(self, settings: TrialSettings) -> TaskFacts:
        """Return what is told of a trial's task.

        Raises:
            DataError: If its data is missing.
        """
        key = repr((settings.task, settings.data))
        if key not in self._facts:
            task = load_task(settings.task, settings.data)
            self._facts[key] = TaskFacts(
                name=task.name,
                kind=task.kind,
                digest=task.digest,
                source=task.source,
                licence=task.licence,
                labels=task.labels,
                num_examples={
                    name: len(getattr(task.splits, name)) for name in ("train", "dev", "test")
                },
            )
        return self._facts[key]
