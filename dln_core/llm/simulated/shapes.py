"""The parts of answers that several routes share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.llm.serving.fields import Body
from dln_core.llm.simulated.words import Token, token_id
from dln_core.types import Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets, and what it costs the server.

    Attributes:
        body: The JSON body.
        usage: Tokens of the call.
        sequences: Tokens that each sequence of the request generates.
    """

    body: Body
    usage: Usage
    sequences: tuple[int, ...]


def usage_part(usage: Usage) -> Body:
    """The token counts as OpenAI's first two routes tell them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def completion_logprobs(tokens: Sequence[Token], num_top: int) -> Body:
    """Log-probs as the completions route tells them."""
    texts = [token.text for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            None if token.logprob is None else _top(token, num_top) for token in tokens
        ],
        "text_offset": list(itertools.accumulate(map(len, texts), initial=0))[:-1],
    }


def chat_logprobs(tokens: Sequence[Token], num_top: int) -> list[Body]:
    """Log-probs as the chat and responses routes tell them."""
    return [
        {
            **_entry(token.text, token.logprob or 0.0),
            "top_logprobs": [_entry(*item) for item in _most_probable(token, num_top).items()],
        }
        for token in tokens
    ]


def prompt_logprobs(tokens: Sequence[Token], num_top: int) -> list[Body | None]:
    """Log-probs of a prompt as vLLM tells them: by token id, the prompt's own token first."""
    return [None if token.logprob is None else _ranked(token, num_top) for token in tokens]


def _ranked(token: Token, num_top: int) -> Body:
    ranks = {word: rank for rank, word in enumerate(_most_probable(token, None), start=1)}
    shown = _top(token, num_top) if num_top else {token.text: token.logprob}
    return {
        str(token_id(word)): {
            "logprob": logprob,
            "rank": ranks.get(word, len(ranks) + 1),
            "decoded_token": word,
        }
        for word, logprob in shown.items()
    }


def _top(token: Token, num_top: int) -> Mapping[str, float | None]:
    if not token.top:
        return {token.text: token.logprob}
    return {token.text: token.logprob} | {
        word: logprob
        for word, logprob in _most_probable(token, num_top).items()
        if word != token.text
    }


def _most_probable(token: Token, num_top: int | None) -> dict[str, float]:
    # The other words at a token's place stand after the same white space.
    space = token.text[: len(token.text) - len(token.text.lstrip())]
    return {space + word: value for word, value in itertools.islice(token.top.items(), num_top)}


def _entry(word: str, logprob: float) -> dict[str, Any]:
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}
