"""The rung ``score``: a route that scores all targets of one context in one call."""

from __future__ import annotations

from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.logprobs import answers, scored
from dln_core.llm.adapters.texts import as_chat, as_text
from dln_core.llm.adapters.usage import read_usage
from dln_core.llm.base import Choice, Response, ScoreRequest


async def score(config: LLMConfig, api: str, request: ScoreRequest, post: Post) -> Response:
    """Score every target by one call.

    Raises:
        ScoringError: If a target is missing or a log-prob is not a number.
    """
    body = await post(write(config, api, request))
    return Response(read(request, body), read_usage(body))


def write(config: LLMConfig, api: str, request: ScoreRequest) -> Call:
    """Write the context in the form of the api, and the targets."""
    body: dict[str, Any] = {"model": config.model}
    if api == "chat":
        body |= {"messages": as_chat(request.messages), "targets": list(request.targets)}
    else:
        # The space belongs to the target: tokenizers join it to the word that follows.
        targets = [f" {target}" for target in request.targets]
        body |= {"prompt": as_text(request.messages), "targets": targets}
    return Call("score", body | config.extra)


def read(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    """Read the targets' token log-probs."""
    try:
        rows = [tuple(float(v) for v in one["token_logprobs"]) for one in answers(body, "scores")]
    except (KeyError, TypeError, ValueError) as error:
        raise ScoringError(f"the scoring route sent no log-probs: {body!r:.200}") from error
    return scored(request.targets, rows)
