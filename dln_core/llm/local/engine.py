"""The local engine: a converted model that scores and generates on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dln_core.llm.local.convert import read_summary
from dln_core.llm.local.generation import Generated, GenerateJob, Generator
from dln_core.llm.local.scoring import Echo, ScoreJob, Scorer
from dln_core.llm.local.session import CompiledModel
from dln_core.llm.local.tokens import Tokenizer, Tokens


def default_threads() -> int:
    """Return how many threads the engine uses unless told otherwise."""
    return min(2, os.cpu_count() or 1)


class LocalEngine:
    """A model in memory; blocking, so callers run it on threads.

    Scoring and generation keep sessions of their own: one thread may score while another
    generates; each ability is used by one thread at a time.

    Args:
        folder: What ``weights.pull`` returned.
        num_threads: Threads of the model; None takes the default.

    Raises:
        WeightsError: If the folder holds no converted model.
        ConfigError: If the ``local`` extra is not installed.
    """

    def __init__(self, folder: Path, num_threads: int | None = None) -> None:
        self.context_length = int(read_summary(folder)["context_length"])
        self.tokenizer = Tokenizer(folder)
        model = CompiledModel(folder, num_threads or default_threads())
        self._scorer = Scorer(model)
        self._generator = Generator(model, self.tokenizer)

    def score(self, jobs: Sequence[ScoreJob]) -> list[list[list[float]]]:
        """Return the token log-probs (nats) of every target of every job."""
        return self._scorer.score(jobs)

    def echo(self, tokens: Tokens) -> Echo:
        """Return the log-prob of every token of a text; uses the scoring ability."""
        return self._scorer.echo(tokens)

    def generate(self, jobs: Sequence[GenerateJob]) -> list[Generated]:
        """Return the continuation of every job."""
        return self._generator.generate(jobs)
