"""The chat completions route of OpenAI's protocol: a conversation in, its next turn out."""

from __future__ import annotations

from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.adapters.calls import Call
from dln_core.llm.adapters.logprobs import sampled
from dln_core.llm.adapters.parameters import asks_logprobs, sampling
from dln_core.llm.adapters.texts import as_chat, finished, is_filtered, text_of
from dln_core.llm.base import Choice, GenerateRequest

PATH = "chat/completions"


def write(config: LLMConfig, request: GenerateRequest) -> Call:
    """Ask for the next turn."""
    asked = asks_logprobs(config, request)
    logprobs = {"logprobs": True, "top_logprobs": 1} if asked else {}
    body = {"model": config.model, **sampling(config, request), **logprobs, **config.extra}
    return Call(PATH, body | {"messages": as_chat(request.messages)})


def read(request: GenerateRequest, body: Any) -> Choice:
    """Read the next turn.

    Raises:
        TransientError: If the body lacks what every answer has.
    """
    try:
        entry = body["choices"][0]
        raw = "" if is_filtered(entry, "message") else text_of(entry["message"].get("content"))
        values = sampled(raw, "", _tokens(entry)) if request.logprobs else None
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error
    return Choice(finished(raw, request.stop), values, entry.get("finish_reason") or "stop")


def _tokens(entry: Any) -> list[tuple[str, float | None]]:
    """The tokens with their log-probs; none where they are not told, or in another form."""
    try:
        return [(token["token"], token["logprob"]) for token in entry["logprobs"]["content"]]
    except (KeyError, TypeError):
        return []
