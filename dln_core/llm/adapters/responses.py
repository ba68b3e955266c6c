"""The responses route of OpenAI: a conversation in, items out, of which messages hold the text."""

from __future__ import annotations

from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.adapters.calls import Call
from dln_core.llm.adapters.parameters import sampling
from dln_core.llm.adapters.texts import FILTERED, as_chat, finished, text_of
from dln_core.llm.base import Choice, GenerateRequest

PATH = "responses"
# The route has neither seeds nor stop strings.
NAMES = {"max_tokens": "max_output_tokens", "temperature": "temperature"}
# OpenAI refuses fewer.
LEAST_TOKENS = 16
_REASONS = {"max_output_tokens": "length"}


def write(config: LLMConfig, request: GenerateRequest) -> Call:
    """Ask for the next turn, and that the endpoint does not keep the conversation."""
    body = {"model": config.model, "store": False, **sampling(config, request, NAMES)}
    if "max_output_tokens" in body:
        body["max_output_tokens"] = max(LEAST_TOKENS, request.max_tokens)
    return Call(PATH, body | config.extra | {"input": as_chat(request.messages)})


def read(request: GenerateRequest, body: Any) -> Choice:
    """Read the next turn; what the model thought before it is left out.

    Raises:
        TransientError: If the body lacks what every answer has, or says that answering failed.
    """
    try:
        if body["status"] not in ("completed", "incomplete"):
            raise TransientError(f"the endpoint failed to answer: {body.get('error')!r:.200}")
        why = str((body.get("incomplete_details") or {}).get("reason") or "stop")
        items = [] if why == FILTERED and not body.get("output") else body["output"]
        raw = "".join(
            text_of(item["content"], "output_text") for item in items if item["type"] == "message"
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error
    return Choice(finished(raw, request.stop), None, _REASONS.get(why, why))
