"""Conversations as the routes want them, and texts as they come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dln_core.types import Message

FILTERED = "content_filter"


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


def text_of(content: Any, block_type: str = "text") -> str:
    """Join what a message holds: a text, nothing, or blocks of which some are text.

    Raises:
        TypeError: If it holds something else.
    """
    if content is None or isinstance(content, str):
        return content or ""
    blocks: list[Mapping[str, Any]] = list(content)
    return "".join(block["text"] for block in blocks if block["type"] == block_type)


def is_filtered(entry: Mapping[str, Any], name: str) -> bool:
    """Whether a filter took away the text of a choice, with the field that was to hold it."""
    return entry.get("finish_reason") == FILTERED and not entry.get(name)


def finished(raw: str, stop: Sequence[str]) -> str:
    """Cut a text before the first stop string and take its outer spaces away.

    Endpoints without the parameter, and those that are not sent it, leave the cutting to us.
    """
    for end in stop:
        raw = raw.partition(end)[0]
    return raw.strip()
