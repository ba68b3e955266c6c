"""The JSON bodies of answers, in OpenAI's shapes."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dln_core.llm.local.echo import TopTokens
from dln_core.llm.local.generation import Generated
from dln_core.llm.local.tokens import Tokenizer


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

    def add(
        self, tokens: Sequence[int], logprobs: Sequence[float], top: Sequence[TopTokens]
    ) -> None:
        """Add tokens, of the prompt or of a continuation."""
        for token, logprob, best in zip(tokens, logprobs, top, strict=True):
            # NaN marks the first token of a text: nothing stands before it.
            known = not math.isnan(logprob)
            self.text_offset.append(len(self.raw.decode("utf-8", errors="ignore")))
            self.raw += self.tokenizer.token_bytes(token)
            self.tokens.append(self.tokenizer.name(token))
            self.token_logprobs.append(logprob if known else None)
            named = {self.tokenizer.name(other): value for other, value in best}
            self.top_logprobs.append(named if known else None)

    def to_dict(self, first: int = 0) -> dict[str, Any]:
        """Return the part from some token on as plain JSON values."""
        return {
            "tokens": self.tokens[first:],
            "token_logprobs": self.token_logprobs[first:],
            "top_logprobs": self.top_logprobs[first:],
            "text_offset": self.text_offset[first:],
        }


def chat_logprobs(tokenizer: Tokenizer, made: Generated) -> dict[str, Any]:
    """Return the ``logprobs`` part of a chat choice."""

    def named(token: int, logprob: float) -> dict[str, Any]:
        raw = list(tokenizer.token_bytes(token))
        return {"token": tokenizer.name(token), "logprob": logprob, "bytes": raw}

    content = [
        {**named(token, logprob), "top_logprobs": [named(*other) for other in best]}
        for token, logprob, best in zip(made.tokens, made.logprobs, made.top, strict=True)
    ]
    return {"content": content, "refusal": None}


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
