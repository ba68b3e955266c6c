"""The rung ``label``: the chat route's most probable next tokens tell labels apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError
from dln_core.llm.adapters import chat
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.logprobs import answers, log_sum_exp, scored
from dln_core.llm.adapters.parameters import scoring_body
from dln_core.llm.adapters.texts import as_chat
from dln_core.llm.adapters.usage import read_usage
from dln_core.llm.base import Choice, Response, ScoreRequest

NUM_TOP_LOGPROBS = 20


async def score(config: LLMConfig, api: str, request: ScoreRequest, post: Post) -> Response:
    """Score every label by one call.

    Raises:
        ScoringError: If the endpoint sent no log-probs, or two labels begin with the same token.
    """
    body = await post(write(config, request))
    return Response(read(request, body), read_usage(body))


def write(config: LLMConfig, request: ScoreRequest) -> Call:
    """Ask for the most probable next tokens."""
    values = {
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": NUM_TOP_LOGPROBS,
    }
    return Call(chat.PATH, scoring_body(config, values) | {"messages": as_chat(request.messages)})


def read(request: ScoreRequest, body: Any) -> tuple[Choice, ...]:
    """Read label log-probs from the most probable next tokens.

    A label's log-prob is that of all seen tokens that it begins with.  A label of which no token
    was seen gets the least seen log-prob: an upper bound of what it has.
    """
    try:
        top = answers(body, "choices")[0]["logprobs"]["content"][0]["top_logprobs"]
        seen = [(str(entry["token"]).strip(), float(entry["logprob"])) for entry in top]
        least = min(value for _, value in seen)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ScoringError(f"the endpoint sent no next-token log-probs: {body!r:.200}") from error
    rows: list[tuple[float, ...]] = []
    for target in request.targets:
        found = [value for token, value in seen if token and target.startswith(token)]
        if found and len(request.targets) > 1:
            _refuse_shared_start(target, request.targets, seen)
        rows.append((log_sum_exp(found) if found else least,))
    return scored(request.targets, rows)


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
