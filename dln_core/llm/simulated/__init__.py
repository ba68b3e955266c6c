"""Language models whose distribution is known: for dry runs, tests and exact checks.

A world gives the whole distribution over the texts that may follow a conversation, so every
expectation can be enumerated.  The model stands in the process (``llm=simulated``) or behind an
HTTP server that has limits and faults to order (``python -m dln_core.llm.simulated serve``).
"""

from __future__ import annotations

from dln_core.llm.simulated.model import (
    OUTSIDE_LOG_PROB,
    SimulatedModel,
    WithoutScores,
    World,
    num_words,
)
from dln_core.llm.simulated.worlds import STOCK_SENTENCES, InContextReader

__all__ = [
    "OUTSIDE_LOG_PROB",
    "STOCK_SENTENCES",
    "InContextReader",
    "SimulatedModel",
    "WithoutScores",
    "World",
    "num_words",
]
