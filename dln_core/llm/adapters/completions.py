"""The completions route of OpenAI's protocol: a text in, its continuation out.

The one route that takes a list of prompts in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import RequestError, TransientError
from dln_core.llm.adapters.calls import Call
from dln_core.llm.adapters.logprobs import sampled
from dln_core.llm.adapters.parameters import asks_logprobs, sampling
from dln_core.llm.adapters.texts import as_text, finished
from dln_core.llm.adapters.usage import divide_usage, read_usage
from dln_core.llm.base import Choice, GenerateRequest, Response

PATH = "completions"


def write(config: LLMConfig, request: GenerateRequest) -> Call:
    """Ask for one continuation."""
    return _call(config, request, as_text(request.messages))


def read(request: GenerateRequest, body: Any) -> Choice:
    """Read the continuation.

    Raises:
        TransientError: If the body lacks what every answer has.
    """
    try:
        return _choice(request, body["choices"][0])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no text: {body!r:.200}") from error


def write_list(config: LLMConfig, requests: Sequence[GenerateRequest]) -> Call:
    """Ask for the continuations of several texts; the requests differ in nothing else."""
    return _call(config, requests[0], [as_text(request.messages) for request in requests])


def read_list(requests: Sequence[GenerateRequest], body: Any) -> Response:
    """Read the continuations of a list; their tokens are divided by their characters.

    Raises:
        RequestError: If there are not as many as there are prompts.
        TransientError: If the body lacks what every answer has.
    """
    try:
        entries = in_order(body["choices"])
        if len(entries) != len(requests):
            raise RequestError(
                f"the endpoint answered a list of {len(requests)} prompts with {len(entries)} "
                "texts; send each alone"
            )
        choices = [_choice(r, entry) for r, entry in zip(requests, entries, strict=True)]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientError(f"the endpoint sent no texts: {body!r:.200}") from error
    usage = read_usage(body)
    usages = divide_usage(
        usage,
        [sum(len(message.text) for message in request.messages) for request in requests],
        [len(choice.text) for choice in choices],
    )
    parts = tuple(Response((c,), used) for c, used in zip(choices, usages, strict=True))
    return Response((), usage, parts=parts)


def in_order(entries: Any) -> list[Any]:
    """Order a list's choices by the place of their prompts, which their index alone tells."""
    return sorted(entries, key=lambda entry: entry.get("index", 0))


def _call(config: LLMConfig, request: GenerateRequest, prompt: str | list[str]) -> Call:
    logprobs = {"logprobs": 1} if asks_logprobs(config, request) else {}
    body = {"model": config.model, **sampling(config, request), **logprobs, **config.extra}
    return Call(PATH, body | {"prompt": prompt})


def _choice(request: GenerateRequest, entry: Any) -> Choice:
    raw = entry["text"] or ""
    reason = entry.get("finish_reason") or "stop"
    given = entry.get("logprobs") if request.logprobs else None
    tokens = zip(given["tokens"], given["token_logprobs"], strict=False) if given else ()
    # Behind a context, a target stands after one space.
    values = sampled(raw, " ", tokens)
    return Choice(finished(raw, request.stop), values, reason)
