"""What the simulated server answers in the shapes of OpenAI's Responses and of Anthropic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from dln_core.llm.serving.fields import BadRequest, Body, read_integer, read_messages, read_strings
from dln_core.llm.simulated.asking import MOST_TOKENS, Sampling, Spoken, read_conversation
from dln_core.llm.simulated.routes import CHAT_TOKENS, Routes, count_words, read_top
from dln_core.llm.simulated.shapes import Answer, chat_logprobs
from dln_core.llm.simulated.words import Conversation, spoken_tokens
from dln_core.types import Message, Usage

# Both of the real routes refuse what they do not know, seeds among it.
_COMMON_FIELDS = frozenset({"model", "temperature", "top_p", "stream", "metadata"})
RESPONSES_FIELDS = _COMMON_FIELDS | {
    *("input", "instructions", "max_output_tokens", "top_logprobs", "include"),
    *("store", "reasoning", "text"),
}
MESSAGES_FIELDS = _COMMON_FIELDS | {
    *("messages", "system", "max_tokens", "top_k", "stop_sequences", "thinking"),
}
LEAST_OUTPUT_TOKENS = 16
LOGPROBS = "message.output_text.logprobs"


class Dialects:
    """Further routes of a world's server."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def responses(self, body: Body, number: int) -> Answer:
        """Answer OpenAI's ``POST /v1/responses``."""
        for name in sorted(body.keys() - RESPONSES_FIELDS):
            raise BadRequest(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
        limit = read_integer(
            body, "max_output_tokens", CHAT_TOKENS, LEAST_OUTPUT_TOKENS, MOST_TOKENS
        )
        messages = _input(body)
        made = self._speak({**body, "max_tokens": limit}, number, messages)
        usage = Usage(count_words(messages), made.num_tokens)
        is_cut = made.finish_reason == "length"
        status = "incomplete" if is_cut else "completed"
        said = {
            "type": "message",
            "id": f"msg-{number}",
            "status": status,
            "role": "assistant",
            "content": [_output_text(made, body)],
        }
        told = {
            "id": f"resp-{number}",
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "model": self._routes.name,
            "output": [said],
            "usage": {
                **_usage(usage),
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
        }
        return Answer(told, usage, (made.num_tokens,))

    def messages(self, body: Body, number: int) -> Answer:
        """Answer Anthropic's ``POST /v1/messages``."""
        for name in sorted(body.keys() - MESSAGES_FIELDS):
            raise BadRequest(f"{name}: Extra inputs are not permitted", name)
        if body.get("max_tokens") is None:
            raise BadRequest("max_tokens: Field required", "max_tokens")
        messages = read_conversation(body)
        if any(message.role == "system" for message in messages):
            raise BadRequest("messages: role 'system' is not supported; send system", "messages")
        if body.get("system"):
            system = [{"role": "system", "content": body["system"]}]
            messages = (*read_conversation({"messages": system}), *messages)
        made = self._speak({**body, "stop": body.get("stop_sequences")}, number, messages)
        usage = Usage(count_words(messages), made.num_tokens)
        told = {
            "id": f"msg-{number}",
            "type": "message",
            "role": "assistant",
            "model": self._routes.name,
            "content": [{"type": "text", "text": made.text}],
            "stop_reason": "max_tokens" if made.finish_reason == "length" else "end_turn",
            "stop_sequence": None,
            "usage": _usage(usage),
        }
        return Answer(told, usage, (made.num_tokens,))

    def _speak(self, body: Body, number: int, messages: Conversation) -> Spoken:
        sampling: Sampling = self._routes.sampling(body, number, CHAT_TOKENS)
        return sampling.speak(self._routes.world, messages, 0)


def anthropic_error(error: BadRequest) -> Body:
    """An error in Anthropic's shape."""
    kinds: Mapping[int, str] = {
        401: "authentication_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }
    kind = kinds.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


def require_version(request: web.Request) -> None:
    """Check that a request says which version of Anthropic's interface it speaks.

    Raises:
        BadRequest: If it does not.
    """
    if "anthropic-version" not in request.headers:
        raise BadRequest("anthropic-version: header is required", "anthropic-version")


def _input(body: Body) -> Conversation:
    asked = body.get("input")
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    if body.get("instructions"):
        turns = [{"role": "system", "content": body["instructions"]}, *(turns or [])]
    read = read_messages({"messages": turns})
    return tuple(Message(turn["role"], turn["content"]) for turn in read)


def _output_text(made: Spoken, body: Body) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": made.text, "annotations": []}
    if LOGPROBS in read_strings(body, "include"):
        said = spoken_tokens(made.distribution, made.text)
        part["logprobs"] = chat_logprobs(said, read_top(body, "top_logprobs"))
    return part


def _usage(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
