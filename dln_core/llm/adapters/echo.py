"""The rung ``echo``: the completions route repeats context and target with their log-probs."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.completions import PATH
from dln_core.llm.adapters.logprobs import answers, scored
from dln_core.llm.adapters.parameters import scoring_body
from dln_core.llm.adapters.places import plain_borders, token_spans
from dln_core.llm.adapters.texts import as_text
from dln_core.llm.adapters.usage import divide_usage, joined, read_usage
from dln_core.llm.base import Response, ScoreRequest


class _Row(NamedTuple):
    """Log-probs of a target's tokens, and the number of tokens of its whole prompt."""

    logprobs: tuple[float, ...]
    prompt_tokens: int


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
    # Some servers refuse 0 tokens; the one too many is cut off by its place.
    values = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return Call(PATH, scoring_body(config, values) | {"prompt": prompts})


def read(requests: Sequence[ScoreRequest], body: Any) -> Response:
    """Read the log-probs and the usage of every request's targets, each by itself.

    The boundary comes from the places of the tokens in the joined text; a token that reaches over
    it belongs to the target.

    Raises:
        ScoringError: If the endpoint echoed no log-probs.
    """
    asked = [(as_text(r.messages), target) for r in requests for target in r.targets]
    try:
        entries = sorted(answers(body, "choices"), key=lambda entry: entry.get("index", 0))
        rows = [_row(*one, e["logprobs"]) for one, e in zip(asked, entries, strict=True)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScoringError(f"the endpoint echoed no log-probs: {body!r:.200}") from error
    choices = scored([target for _, target in asked], [row.logprobs for row in rows])
    usages = divide_usage(read_usage(body), [row.prompt_tokens for row in rows])
    targets = (Response((c,), usage) for c, usage in zip(choices, usages, strict=True))
    parts = [joined(tuple(itertools.islice(targets, len(request.targets)))) for request in requests]
    return Response((), read_usage(body), parts=tuple(parts))


def _row(context: str, target: str, echo: Mapping[str, Any]) -> _Row:
    tokens, offsets, values = echo["tokens"], echo["text_offset"], echo["token_logprobs"]
    if not len(tokens) == len(offsets) == len(values) > 0:
        raise ValueError("the lists of an echo differ in length, or are empty")
    prompt = f"{context} {target}"
    borders = plain_borders(prompt, tokens)
    if borders is not None:
        # Behind the prompt stands the token that was generated.
        num_own = bisect_left(borders, len(prompt), hi=len(tokens))
        first = bisect_right(borders, len(context)) - 1
        return _Row(tuple(map(float, values[first:num_own])), num_own)
    # Offsets that count what is shown of tokens count otherwise than the text, so they come last.
    spans = token_spans(prompt, tokens) or list(
        itertools.pairwise([*offsets, offsets[-1] + len(tokens[-1])])
    )
    own = [i for i, (begin, _) in enumerate(spans) if begin < len(prompt)]
    scored_ones = [i for i in own if spans[i][1] > len(context)]
    return _Row(tuple(float(values[i]) for i in scored_ones), len(own))
