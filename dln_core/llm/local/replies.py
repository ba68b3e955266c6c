"""The JSON bodies of answers, in OpenAI's shapes."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dln_core.llm.local.echo import Echo
from dln_core.llm.local.generation import Generated
from dln_core.llm.local.tokens import Tokenizer, Tokens


@dataclass(slots=True)
class TokenLogprobs:
    """The ``logprobs`` part of a completion, built token by token.

    Attributes:
        tokenizer: Names the tokens.
        raw: Bytes of the text so far.
    """

    tokenizer: Tokenizer
    raw: bytearray = field(default_factory=bytearray)
    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def add_echo(self, tokens: Tokens, echo: Echo) -> None:
        """Add the tokens of the prompt."""
        self._add(tokens.tolist(), echo.logprobs, echo.best_tokens, echo.best_logprobs)

    def add_generated(self, generated: Generated) -> None:
        """Add the tokens of a continuation."""
        best = (generated.best_tokens, generated.best_logprobs)
        self._add(generated.tokens, generated.logprobs, *best)

    def to_dict(self) -> dict[str, Any]:
        """Return the part as plain JSON values."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }

    def _add(
        self,
        tokens: Sequence[int],
        logprobs: Sequence[float],
        best_tokens: Sequence[int],
        best_logprobs: Sequence[float],
    ) -> None:
        for token, logprob, best, top in zip(
            tokens, logprobs, best_tokens, best_logprobs, strict=True
        ):
            # NaN marks the first token of a text: nothing stands before it.
            known = not math.isnan(logprob)
            self.text_offset.append(len(self.raw.decode("utf-8", errors="ignore")))
            self.raw += self.tokenizer.token_bytes(token)
            self.tokens.append(self.tokenizer.name(token))
            self.token_logprobs.append(logprob if known else None)
            self.top_logprobs.append({self.tokenizer.name(best): top} if known else None)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the ``usage`` part of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def envelope(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """Return the fields that stand at the head of every generated answer."""
    made = {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind}
    return {**made, "created": int(time.time()), "model": model}
