"""Log-probs of the tokens of a text as the model reads it, plainly from its start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dln_core.llm.local.session import CompiledModel, Logits, Session, log_normalizer
from dln_core.llm.local.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Echo:
    """What the model made of a text as it read it.

    Attributes:
        logprobs: [T] nats; the first is NaN, as nothing stands before it.
        best_tokens: [T] the most probable token at each place; the first is -1.
        best_logprobs: [T] its log-prob in nats; the first is NaN.
    """

    logprobs: tuple[float, ...]
    best_tokens: tuple[int, ...]
    best_logprobs: tuple[float, ...]


class Echoer:
    """Echoes texts on one session; used by one thread at a time."""

    def __init__(self, model: CompiledModel) -> None:
        self._session = Session(model)

    def echo(self, tokens: Tokens) -> Echo:
        """Return what the model makes of a text of at least one token; nothing is shared."""
        size = len(tokens)
        logprobs, best_logprobs = np.full(size, np.nan), np.full(size, np.nan)
        best_tokens = np.full(size, -1)

        def read(row: int, position: int, logits: Logits) -> None:
            """Note the log-probs at the place after ``position``."""
            total, best = log_normalizer(logits), int(logits.argmax())
            logprobs[position + 1] = logits[tokens[position + 1]] - total
            best_tokens[position + 1] = best
            best_logprobs[position + 1] = logits[best] - total

        if size > 1:
            self._session.begin([(None, 0)])
            self._session.feed([tokens[:-1]], [0], [range(size - 1)], read)
        return Echo(
            tuple(logprobs.tolist()), tuple(best_tokens.tolist()), tuple(best_logprobs.tolist())
        )
