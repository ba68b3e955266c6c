"""The messages route of Anthropic: a conversation and a system text in, blocks of text out."""

from __future__ import annotations

from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import TransientError
from dln_core.llm.adapters.calls import Call
from dln_core.llm.adapters.parameters import sampling
from dln_core.llm.adapters.texts import as_chat, finished, text_of
from dln_core.llm.base import Choice, GenerateRequest

PATH = "messages"
# The route has no seeds.
NAMES = {"max_tokens": "max_tokens", "temperature": "temperature", "stop": "stop_sequences"}
_REASONS = {"max_tokens": "length", "end_turn": "stop", "stop_sequence": "stop"}


def write(config: LLMConfig, request: GenerateRequest) -> Call:
    """Ask for the next turn."""
    body = {"model": config.model, **sampling(config, request, NAMES)}
    if "stop_sequences" in body:
        # Those of spaces alone are refused; we cut there ourselves.
        body["stop_sequences"] = [end for end in request.stop if end.strip()]
    turns = [message for message in request.messages if message.role != "system"]
    system = [message.text for message in request.messages if message.role == "system"]
    if system:
        body["system"] = "\n\n".join(system)
    return Call(PATH, body | config.extra | {"messages": as_chat(turns)})


def read(request: GenerateRequest, body: Any) -> Choice:
    """Read the next turn.

    Raises:
        TransientError: If the body lacks what every answer has.
    """
    try:
        raw, reason = text_of(body["content"]), str(body["stop_reason"] or "stop")
    except (KeyError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error
    return Choice(finished(raw, request.stop), None, _REASONS.get(reason, reason))
