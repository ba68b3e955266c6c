"""The local engine: a converted model that scores and generates on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

from dln_core.errors import WeightsError
from dln_core.llm.local.convert import read_summary
from dln_core.llm.local.echo import Echoer
from dln_core.llm.local.generation import Generator
from dln_core.llm.local.scoring import Scorer
from dln_core.llm.local.session import CompiledModel
from dln_core.llm.local.tokens import Tokenizer


def default_threads() -> int:
    """Return how many threads the engine uses unless told otherwise."""
    return min(2, os.cpu_count() or 1)


class LocalEngine:
    """A model in memory; blocking, so callers run it on threads.

    Each ability has a session of its own: one thread may score while another generates.

    Args:
        folder: What ``weights.pull`` returned.
        num_threads: Threads of the model; None takes the default.
        exact: Full precision, so that an answer depends on its request alone; slower.

    Attributes:
        scorer: Log-probs of given targets.
        echoer: Log-probs of whole texts.
        generator: Continuations.
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
            self._model = CompiledModel(folder, num_threads or default_threads(), exact=exact)
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise WeightsError(
                f"{folder} cannot be loaded as a model ({reason}); delete this folder and pull "
                "the model again"
            ) from error
        self.scorer = Scorer(self._model)
        self.echoer = Echoer(self._model)
        self.generator = Generator(self._model, self.tokenizer)

    def stop(self) -> None:
        """Let whatever is under way fail at its next step; the engine is of no use after it."""
        self._model.stop()
