"""The local engine: a converted model that scores and generates on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dln_core.errors import WeightsError
from dln_core.llm.local.convert import read_summary
from dln_core.llm.local.echo import Echo, EchoTask
from dln_core.llm.local.generation import Generated, GenerateJob, GenerateTask
from dln_core.llm.local.model import CompiledModel
from dln_core.llm.local.scheduler import Scheduler
from dln_core.llm.local.scoring import ScoreJob, ScoreTask
from dln_core.llm.local.tokens import Tokenizer, Tokens


def default_threads() -> int:
    """Return how many threads the engine uses unless told otherwise."""
    return min(2, os.cpu_count() or 1)


class LocalEngine:
    """A model in memory; blocking, and used by one thread at a time.

    Args:
        folder: What ``weights.pull`` returned.
        num_threads: Threads of the model; None takes the default.
        exact: Full precision, so that an answer depends on its request alone; slower.

    Attributes:
        scheduler: What reads tasks of all kinds together; a server's worker owns it.
        tokenizer: The model's tokenizer and chat template.
        context_length: Most tokens of a context and what follows it.

    Raises:
        WeightsError: If the folder holds no converted model, or a damaged one.
        ConfigError: If the ``local`` extra is not installed.
    """

    def __init__(
        self, folder: Path, num_threads: int | None = None, *, exact: bool = False
    ) -> None:
        self.context_length = int(read_summary(folder)["context_length"])
        try:
            self.tokenizer = Tokenizer(folder)
            self._model = CompiledModel(
                folder, num_threads or default_threads(), self.context_length, exact=exact
            )
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise WeightsError(
                f"{folder} cannot be loaded as a model ({reason}); delete this folder and pull "
                "the model again"
            ) from error
        self.scheduler = Scheduler(self._model)

    def score(self, jobs: Sequence[ScoreJob]) -> list[list[list[float]]]:
        """Return the token log-probs (nats) of every target of every job."""
        return self.scheduler.run([ScoreTask(job) for job in jobs])

    def echo(self, tokens: Tokens) -> Echo:
        """Return what the model makes of a text of at least one token; nothing is shared."""
        return self.scheduler.run([EchoTask(tokens)])[0]

    def generate(self, jobs: Sequence[GenerateJob]) -> list[Generated]:
        """Return the continuation of every job."""
        return self.scheduler.run([GenerateTask(job, self.tokenizer) for job in jobs])

    def stop(self) -> None:
        """Let whatever is under way fail at its next step; the engine is of no use after it."""
        self._model.stop()
