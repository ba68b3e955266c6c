"""Deep Language Networks: layers of language model calls whose parameters are prompts.

In a notebook::

    trained = await dln_core.train(task="triage", llm=LLMConfig(base_url="http://localhost:8080/v1"))
    trained.save("network.json")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dln_core.api import (
        Evaluation,
        Trained,
        evaluate,
        load_network,
        make_task,
        predict,
        train,
    )

__all__ = ["Evaluation", "Trained", "evaluate", "load_network", "make_task", "predict", "train"]

if not TYPE_CHECKING:
    # Loaded when asked for: the command line imports this package for every settings error, and
    # the API brings numpy and aiohttp.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("dln_core.api"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
