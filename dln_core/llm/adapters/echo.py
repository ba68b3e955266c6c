"""The rung ``echo``: the completions route repeats context and target with their log-probs."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.completions import PATH, in_order
from dln_core.llm.adapters.logprobs import answers, scored
from dln_core.llm.adapters.parameters import scoring_body
from dln_core.llm.adapters.texts import as_text
from dln_core.llm.adapters.usage import divide_usage, read_usage
from dln_core.llm.base import Response, ScoreRequest
from dln_core.types import Usage


async def score(config: LLMConfig, api: str, request: ScoreRequest, post: Post) -> Response:
    """Score every target of one context by one call.

    Raises:
        ScoringError: If the endpoint echoed no log-probs.
    """
    body = await post(write(config, (request,)))
    (part,) = read((request,), body).parts
    return part


def write(config: LLMConfig, requests: Sequence[ScoreRequest]) -> Call:
    """Ask for the echo of every context with each of its targets."""
    prompts = []
    for request in requests:
        context = as_text(request.messages)
        prompts += [f"{context} {target}" for target in request.targets]
    # Some servers refuse 0 tokens; the one too many is cut off by its offset.
    values = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return Call(PATH, scoring_body(config, values) | {"prompt": prompts})


def read(requests: Sequence[ScoreRequest], body: Any) -> Response:
    """Read the log-probs of every request's targets; tokens are divided as they were echoed.

    The boundary comes from the offsets of the tokens in the joined text; a token that reaches over
    it belongs to the target.

    Raises:
        ScoringError: If the endpoint echoed no log-probs.
    """
    asked = [(as_text(r.messages), target) for r in requests for target in r.targets]
    try:
        echoes = [choice["logprobs"] for choice in in_order(answers(body, "choices"))]
        rows = [_row(*one, echo) for one, echo in zip(asked, echoes, strict=True)]
        sizes = [len(echo["tokens"]) for echo in echoes]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScoringError(f"the endpoint echoed no log-probs: {body!r:.200}") from error
    usage = read_usage(body)
    return Response((), usage, parts=_parts(requests, rows, sizes, usage))


def _parts(
    requests: Sequence[ScoreRequest],
    rows: list[tuple[float, ...]],
    sizes: list[int],
    usage: Usage,
) -> tuple[Response, ...]:
    counts = [len(request.targets) for request in requests]
    ends = list(itertools.accumulate(counts, initial=0))
    spans = [slice(start, end) for start, end in itertools.pairwise(ends)]
    usages = divide_usage(usage, [sum(sizes[span]) for span in spans], counts)
    return tuple(
        Response(scored(request.targets, rows[span]), used)
        for request, span, used in zip(requests, spans, usages, strict=True)
    )


def _row(context: str, target: str, echo: Mapping[str, Any]) -> tuple[float, ...]:
    tokens, offsets, values = echo["tokens"], echo["text_offset"], echo["token_logprobs"]
    if not len(tokens) == len(offsets) == len(values):
        raise ValueError("the lists of an echo differ in length")
    start = len(context) + _offset_of(f"{context} {target}", tokens, offsets)
    end = start + 1 + len(target)
    first = bisect.bisect_left(offsets, start)
    if first == len(offsets) or offsets[first] > start:
        # The token before may reach over the boundary.
        first = max(0, first - 1)
    return tuple(
        float(values[i])
        for i in range(first, bisect.bisect_left(offsets, end))
        if offsets[i] + len(tokens[i]) > start
    )


def _offset_of(prompt: str, tokens: Sequence[str], offsets: Sequence[int]) -> int:
    """Offset at which an echoed prompt begins.

    Some servers write a beginning-of-text token before it and count that token's characters.
    """
    begin = "".join(tokens).find(prompt)
    starts = itertools.accumulate(map(len, tokens), initial=0)
    return next((o for s, o in zip(starts, offsets, strict=False) if s == begin), 0)
