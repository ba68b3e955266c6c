"""Log-probs as they come back: taken only where they make sense."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dln_core.errors import ScoringError, TransientError
from dln_core.llm.base import Choice

# Rounding lifts a certain token's log-prob above zero.
ROUNDING = 1e-3


def answers(body: Any, name: str) -> Any:
    """Return the list that holds a body's answers.

    Raises:
        TransientError: If the list is empty: a fault of the moment, where an endpoint that cannot
            score sends no such list or no log-probs in it.
        KeyError: If there is no such list.
        TypeError: If the body holds no names.
    """
    found = body[name]
    if found == []:
        raise TransientError(f"the endpoint sent no answer: {body!r:.200}")
    return found


def scored(targets: Sequence[str], rows: Sequence[Sequence[float]]) -> tuple[Choice, ...]:
    """Pair every target with its token log-probs (nats).

    Raises:
        ScoringError: If one is missing or is no log-prob.
    """
    if len(rows) != len(targets):
        raise ScoringError(f"asked to score {len(targets)} texts, {len(rows)} came back")
    for target, row in zip(targets, rows, strict=True):
        if not row or not all(math.isfinite(value) and value <= ROUNDING for value in row):
            raise ScoringError(f"the log-probs of {target!r:.80} make no sense: {row!r:.120}")
    return tuple(
        Choice(target, tuple(min(0.0, value) for value in row))
        for target, row in zip(targets, rows, strict=True)
    )


def sampled(
    raw: str, lead: str, tokens: Iterable[tuple[str, float | None]]
) -> tuple[float, ...] | None:
    """Return a sampled text's token log-probs if scoring the text would read the same tokens.

    Args:
        raw: The text as it came.
        lead: What stands before a target where it is scored.
        tokens: The tokens as they came, with their log-probs; behind the text's own there may be
            that of its end.
    """
    if not raw.strip() or raw != f"{lead}{raw.strip()}":
        return None
    text, values = "", []
    for token, value in tokens:
        if text == raw or value is None or not math.isfinite(value):
            break
        text += token
        values.append(value)
    return tuple(values) if text == raw else None


def log_sum_exp(values: Sequence[float]) -> float:
    """Log of the sum of probabilities that are given by their logs."""
    peak = max(values)
    return peak + math.log(sum(math.exp(value - peak) for value in values))
