"""Requests and responses in the shapes of the OpenAI-compatible routes.

Pure functions: a request becomes a route and a body, a body that came back becomes choices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError, TransientError
from dln_core.llm.base import Choice, GenerateRequest, ScoreRequest
from dln_core.types import Message, Usage

NUM_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: the path below the base address, and the JSON body."""

    path: str
    body: dict[str, Any]


def as_text(messages: Sequence[Message]) -> str:
    """Write a conversation as one text for completion endpoints.

    An answer follows its question after one space; turns are parted by a blank line.
    """
    parts: list[str] = []
    for message in messages:
        if parts:
            parts.append(" " if message.role == "assistant" else "\n\n")
        parts.append(message.text)
    return "".join(parts)


def as_chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Write a conversation as chat messages."""
    return [{"role": message.role, "content": message.text} for message in messages]


def generation(config: LLMConfig, api: str, request: GenerateRequest) -> Call:
    """Ask for one continuation by the chat or the completions route."""
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
    }
    if request.stop:
        body["stop"] = list(request.stop)
    for name in config.omit:
        body.pop(name, None)
    body |= config.extra
    if api == "chat":
        return Call("chat/completions", body | {"messages": as_chat(request.messages)})
    return Call("completions", body | {"prompt": as_text(request.messages)})


def read_generation(api: str, body: Any) -> tuple[Choice, ...]:
    """Read the continuation that came back.

    Raises:
        TransientError: If the body lacks what every answer has.
    """
    try:
        choice = body["choices"][0]
        text = choice["message"]["content"] if api == "chat" else choice["text"]
        return (Choice((text or "").strip(), None, choice.get("finish_reason") or "stop"),)
    except (KeyError, IndexError, TypeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error


def score_call(config: LLMConfig, api: str, request: ScoreRequest) -> Call:
    """Ask the scoring route for all targets of one context."""
    body: dict[str, Any] = {"model": config.model}
    if api == "chat":
        body |= {"messages": as_chat(request.messages), "targets": list(request.targets)}
    else:
        # The space belongs to the target: tokenizers join it to the word that follows.
        targets = [f" {target}" for target in request.targets]
        body |= {"prompt": as_text(request.messages), "targets": targets}
    return Call("score", body | config.extra)


def read_score(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    """Read the targets' token log-probs from the scoring route's answer.

    Raises:
        ScoringError: If a target is missing or a log-prob is not a number.
    """
    try:
        rows = [tuple(float(v) for v in score["token_logprobs"]) for score in body["scores"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ScoringError(f"the scoring route sent no log-probs: {body!r:.200}") from error
    return _checked(request.targets, rows)


def echo_call(config: LLMConfig, request: ScoreRequest) -> Call:
    """Ask the completions route to echo context and target with their log-probs."""
    context = as_text(request.messages)
    body: dict[str, Any] = {
        "model": config.model,
        "prompt": [f"{context} {target}" for target in request.targets],
        # Some servers refuse 0; the one token too many is cut off by its offset.
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }
    for name in config.omit:
        body.pop(name, None)
    return Call("completions", body | config.extra)


def read_echo(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    """Read the targets' token log-probs from an echo.

    The boundary comes from the offsets of the tokens in the joined text; a token that reaches over
    it belongs to the target.

    Raises:
        ScoringError: If the endpoint echoed no log-probs.
    """
    context = as_text(request.messages)
    rows: list[tuple[float, ...]] = []
    try:
        choices = sorted(body["choices"], key=lambda choice: choice.get("index", 0))
        for target, choice in zip(request.targets, choices, strict=True):
            logprobs = choice["logprobs"]
            start = len(context) + _offset_of(f"{context} {target}", logprobs)
            end = start + 1 + len(target)
            row: list[float] = []
            for token, offset, value in zip(
                logprobs["tokens"],
                logprobs["text_offset"],
                logprobs["token_logprobs"],
                strict=True,
            ):
                if offset + len(token) > start and offset < end:
                    row.append(float(value))
            rows.append(tuple(row))
    except (KeyError, TypeError, ValueError) as error:
        raise ScoringError(f"the endpoint echoed no log-probs: {body!r:.200}") from error
    return _checked(request.targets, rows)


def label_call(config: LLMConfig, request: ScoreRequest) -> Call:
    """Ask the chat route for the most probable next tokens."""
    body = {
        "model": config.model,
        "messages": as_chat(request.messages),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": NUM_TOP_LOGPROBS,
    }
    for name in config.omit:
        body.pop(name, None)
    return Call("chat/completions", body | config.extra)


def read_labels(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    """Read label log-probs from the most probable next tokens.

    A label's log-prob is that of all seen tokens that it begins with.  A label of which no token
    was seen gets the least seen log-prob: an upper bound of what it has.

    Raises:
        ScoringError: If the endpoint sent none, or two labels begin with the same token.
    """
    try:
        top = body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        seen = [(str(entry["token"]).strip(), float(entry["logprob"])) for entry in top]
        least = min(value for _, value in seen)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ScoringError(f"the endpoint sent no next-token log-probs: {body!r:.200}") from error
    rows: list[tuple[float, ...]] = []
    for target in request.targets:
        found = [value for token, value in seen if token and target.startswith(token)]
        if found and len(request.targets) > 1:
            _refuse_shared_start(target, request.targets, seen)
        rows.append((_log_sum_exp(found) if found else least,))
    return _checked(request.targets, rows)


def read_usage(body: Any) -> Usage:
    """Read the token counts; an endpoint that sends none counts as 0."""
    usage = (body.get("usage") if isinstance(body, dict) else None) or {}
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def _offset_of(prompt: str, logprobs: Mapping[str, Any]) -> int:
    """Offset at which an echoed prompt begins.

    Some servers write a beginning-of-text token before it and count that token's characters.
    """
    tokens = logprobs["tokens"]
    begin = "".join(tokens).find(prompt)
    starts = itertools.accumulate(map(len, tokens), initial=0)
    found = [o for s, o in zip(starts, logprobs["text_offset"], strict=False) if s == begin]
    return int(found[0]) if found else 0


def _refuse_shared_start(
    target: str, targets: Sequence[str], seen: Sequence[tuple[str, float]]
) -> None:
    for token, _ in seen:
        sharing = [t for t in targets if token and t.startswith(token)]
        if target in sharing and len(sharing) > 1:
            raise ScoringError(
                f"the labels {' and '.join(sharing)} begin with the same token ({token!r}), so the "
                "next token cannot tell them apart; use labels that begin differently or an "
                "endpoint that scores whole texts"
            )


def _log_sum_exp(values: Sequence[float]) -> float:
    peak = max(values)
    return peak + math.log(sum(math.exp(value - peak) for value in values))


def _checked(targets: Sequence[str], rows: list[tuple[float, ...]]) -> tuple[Choice, ...]:
    if len(rows) != len(targets):
        raise ScoringError(f"asked to score {len(targets)} texts, {len(rows)} came back")
    for target, row in zip(targets, rows, strict=True):
        if not row or not all(math.isfinite(value) and value <= 1e-3 for value in row):
            raise ScoringError(f"the log-probs of {target!r:.80} make no sense: {row!r:.120}")
    return tuple(
        Choice(target, tuple(min(0.0, value) for value in row))
        for target, row in zip(targets, rows, strict=True)
    )
