"""Reading the JSON bodies of requests: every field is checked, wrong ones are named."""

from __future__ import annotations

from typing import Any

from dln_core.errors import LLMError

Body = dict[str, Any]


class BadRequest(LLMError):
    """A request that cannot be answered as it is.

    Attributes:
        param: The field that is wrong; None if it is no single one.
        code: OpenAI's name of the mistake, where there is one.
        status: HTTP status of the answer.
    """

    def __init__(
        self,
        message: str = "",
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status

    def __reduce__(self) -> tuple[type[BadRequest], tuple[str, str | None, str | None, int]]:
        return type(self), (str(self), self.param, self.code, self.status)

    def to_dict(self) -> Body:
        """Return the body of the answer, in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def require_object(value: Any) -> Body:
    """Return a JSON value that must be an object.

    Raises:
        BadRequest: If it is not.
    """
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be a JSON object, not {_kind(value)}")
    return value


def read_number(body: Body, name: str, default: float, low: float, high: float) -> float:
    """Return a number from ``low`` to ``high``; absent or null means the default.

    Raises:
        BadRequest: If it is anything else.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadRequest(f"{name} must be a number from {low:g} to {high:g}, not {value!r}", name)
    return float(value)


def read_integer(body: Body, name: str, default: int, low: int, high: int) -> int:
    """Return an integer from ``low`` to ``high``; absent or null means the default.

    Raises:
        BadRequest: If it is anything else.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadRequest(f"{name} must be an integer from {low} to {high}, not {value!r}", name)
    return value


def read_flag(body: Body, name: str) -> bool:
    """Return a flag; absent or null means false.

    Raises:
        BadRequest: If it is neither true nor false.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false, not {value!r}", name)
    return bool(value)


def read_strings(body: Body, name: str) -> tuple[str, ...]:
    """Return a string or a list of strings, none of them empty; absent means none.

    Raises:
        BadRequest: If it is anything else.
    """
    value = body.get(name)
    strings = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(s, str) and s for s in strings):
        raise BadRequest(f"{name} must be one or more non-empty strings, not {value!r}", name)
    return tuple(strings)


def read_prompts(body: Body) -> list[str | list[int]]:
    """Return the prompts of a completion: a text, tokens, or a list of either.

    Raises:
        BadRequest: If there is none, one is empty, or it is anything else.
    """
    value: Any = body.get("prompt")
    several = isinstance(value, list) and not _is_tokens(value)
    prompts: list[Any] = value if several else [value]
    if not prompts:
        raise BadRequest("prompt is an empty list; give at least one prompt", "prompt")
    for prompt in prompts:
        if not isinstance(prompt, str) and not _is_tokens(prompt):
            raise BadRequest(
                f"prompt must be a string, tokens, or a list of either, not {_kind(prompt)}",
                "prompt",
            )
        if not prompt:
            raise BadRequest("prompt is empty; give at least one token", "prompt")
    return prompts


def read_messages(body: Body) -> list[dict[str, str]]:
    """Return the turns of a conversation.

    Raises:
        BadRequest: If there is none or one lacks a known role or a text.
    """
    value = body.get("messages")
    if not isinstance(value, list) or not value:
        raise BadRequest("messages must be a list of at least one message", "messages")
    return [_read_message(message) for message in value]


def _read_message(message: Any) -> dict[str, str]:
    """Return role and text of one turn."""
    if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
        raise BadRequest(
            f"each message needs a role (system, user or assistant), not {message!r}", "messages"
        )
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise BadRequest(f"each message needs a text as content, not {content!r}", "messages")
    return {"role": message["role"], "content": content}


def _is_tokens(value: Any) -> bool:
    """Tell whether a value is a non-empty list of token numbers."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(token, int) and not isinstance(token, bool) for token in value)


def _kind(value: Any) -> str:
    """Name the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
