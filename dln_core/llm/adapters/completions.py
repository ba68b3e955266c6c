"""The completions route of OpenAI's protocol: a text in, its continuation out."""

from __future__ import annotations

from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.adapters.calls import Call
from dln_core.llm.adapters.logprobs import sampled
from dln_core.llm.adapters.parameters import asks_logprobs, sampling
from dln_core.llm.adapters.texts import as_text, finished, is_filtered
from dln_core.llm.base import Choice, GenerateRequest

PATH = "completions"


def write(config: LLMConfig, request: GenerateRequest) -> Call:
    """Ask for one continuation."""
    logprobs = {"logprobs": 1} if asks_logprobs(config, request) else {}
    body = {"model": config.model, **sampling(config, request), **logprobs, **config.extra}
    return Call(PATH, body | {"prompt": as_text(request.messages)})


def read(request: GenerateRequest, body: Any) -> Choice:
    """Read the continuation.

    Raises:
        TransientError: If the body lacks what every answer has.
    """
    try:
        entry = body["choices"][0]
        raw = "" if is_filtered(entry, "text") else entry["text"] or ""
        # Behind a context, a target stands after one space.
        values = sampled(raw, " ", _tokens(entry)) if request.logprobs else None
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error
    return Choice(finished(raw, request.stop), values, entry.get("finish_reason") or "stop")


def _tokens(entry: Any) -> list[tuple[str, float | None]]:
    """The tokens with their log-probs; none where they are not told, or in another form."""
    try:
        told = entry["logprobs"]
        return list(zip(told["tokens"], told["token_logprobs"], strict=False))
    except (KeyError, TypeError):
        return []
