"""A log of what is sent to language models and what comes back, for people to read.

An entry is one attempt at one request.  Entries hold texts, parameters and counts, never headers
or addresses, and no key: where the value of a key occurs in a text, it is replaced.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Generic, TypeVar

from dln_core.config import CallLogConfig
from dln_core.errors import LLMError
from dln_core.llm.base import (
    Choice,
    GenerateRequest,
    Request,
    RequestList,
    Response,
    Sendable,
    Sender,
)
from dln_core.llm.keys import without_key
from dln_core.types import Role

Sent = TypeVar("Sent", bound=Sendable)

# Entries, some kB each, wait in memory for the end of a unit of work.
MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request on its way, and how it ended.

    Attributes:
        request: What was sent.
        outcome: The answer, or what went wrong.
        model: Name of the model.
        time: When it was sent, in Unix seconds.
        duration_s: How long the outcome took.
    """

    request: Sendable
    outcome: Response | LLMError
    model: str
    time: float
    duration_s: float


class CallLog:
    """Collects the entries of a unit of work until they are taken.

    Whether a request is logged depends on its content alone: all attempts at it are or none is, in
    every run.  The requests of a list are logged or not one by one.  A copy that was pickled reads
    the keys of the process where it arrives.

    Args:
        config: Which requests are logged, and how much of their texts.
        key_names: Environment variables whose values must not be written down.
    """

    def __init__(self, config: CallLogConfig, key_names: Collection[str] = ()) -> None:
        self._config = config
        self._key_names = tuple(key_names)
        self._entries: list[dict[str, Any]] = []
        self._num_left_out = 0

    def record(self, attempt: Attempt) -> None:
        """Enter an attempt; beyond ``MAX_ENTRIES`` it is only counted."""
        for request, outcome, list_size in _single_requests(attempt):
            if _position(request) >= self._config.share:
                continue
            if len(self._entries) >= MAX_ENTRIES:
                self._num_left_out += 1
                continue
            said = {"model": attempt.model, **_asked(request), **_came_back(outcome)}
            entry = {
                "time": attempt.time,
                "duration_s": attempt.duration_s,
                "role": request.role.value,
                "kind": "generation" if isinstance(request, GenerateRequest) else "scoring",
                "list_size": list_size,
            }
            self._entries.append(entry | self._presentable(said))

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """Hand the entries over, as plain JSON values, and how many there was no room for."""
        taken = self._entries, self._num_left_out
        self._entries, self._num_left_out = [], 0
        return taken

    def _presentable(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._presentable_text(value)
        if isinstance(value, dict):
            return {name: self._presentable(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._presentable(part) for part in value]
        # JSON has no other numbers, and a senseless one must not end the run.
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def _presentable_text(self, text: str) -> str:
        # Keys first: a cut could leave the beginning of one.
        for name in self._key_names:
            text = without_key(text, name)
        beyond = len(text) - self._config.max_chars
        if beyond > 0:
            text = f"{text[: self._config.max_chars]} … ({beyond} more characters)"
        # Models may send halves of surrogate pairs, which no file can hold.
        return text.encode(errors="replace").decode()


class Logged(Generic[Sent]):
    """A transport that enters every attempt into a log; it belongs right around an engine."""

    def __init__(self, inner: Sender[Sent], log: CallLog, model: str) -> None:
        self._inner = inner
        self._log = log
        self._model = model

    async def send(self, request: Sent) -> Response:
        """Answer by the inner model and log how that ended."""
        sent_at, started = time.time(), time.monotonic()
        outcome: Response | LLMError
        try:
            outcome = await self._inner.send(request)
        except LLMError as error:
            outcome = error
        self._log.record(
            Attempt(
                request=request,
                outcome=outcome,
                model=self._model,
                time=sent_at,
                duration_s=time.monotonic() - started,
            )
        )
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome


def logged(inner: Sender[Sent], log: CallLog | None, model: str) -> Sender[Sent]:
    """Put a log, if there is one, around an engine."""
    return inner if log is None else Logged(inner, log, model)


def _single_requests(attempt: Attempt) -> Iterator[tuple[Request, Response | LLMError, int]]:
    """Yield the requests of an attempt with the outcome of each, and how many went together."""
    request, outcome = attempt.request, attempt.outcome
    if not isinstance(request, RequestList):
        yield request, outcome, 1
        return
    requests: Sequence[Request] = request.requests
    for index, one in enumerate(requests):
        its = outcome if isinstance(outcome, LLMError) else outcome.parts[index]
        yield one, its, len(requests)


def _position(request: Request) -> float:
    """A number from 0 up to, not with, 1 that the content of a request decides."""
    content = repr(replace(request, role=Role.forward))
    digest = hashlib.sha256(content.encode()).digest()
    # As many bits as a float holds, for rounding must not reach 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _asked(request: Request) -> dict[str, Any]:
    messages = [asdict(message) for message in request.messages]
    if isinstance(request, GenerateRequest):
        names = {field.name for field in fields(request)} - {"messages", "role"}
        parameters = {name: getattr(request, name) for name in sorted(names)}
        return {"messages": messages, "parameters": parameters, "targets": []}
    return {"messages": messages, "parameters": {}, "targets": list(request.targets)}


def _came_back(outcome: Response | LLMError) -> dict[str, Any]:
    if isinstance(outcome, LLMError):
        error = f"{type(outcome).__name__}: {outcome}"
        return {"error": error, "answers": [], "usage": None}
    answers = [_answer(choice) for choice in outcome.choices]
    return {"error": None, "answers": answers, "usage": asdict(outcome.usage)}


def _answer(choice: Choice) -> dict[str, Any]:
    has_logprobs = choice.token_logprobs is not None
    return {
        "text": choice.text,
        "logprob": choice.logprob if has_logprobs else None,
        "num_tokens": len(choice.token_logprobs or ()) if has_logprobs else None,
        "finish_reason": choice.finish_reason,
    }
