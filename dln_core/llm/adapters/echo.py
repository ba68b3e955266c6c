"""The rung ``echo``: the completions route repeats context and target with their log-probs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dln_core.config import LLMConfig
from dln_core.errors import ScoringError
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.completions import PATH
from dln_core.llm.adapters.logprobs import answers, scored
from dln_core.llm.adapters.parameters import scoring_body
from dln_core.llm.adapters.texts import as_text
from dln_core.llm.adapters.usage import divide_usage, joined, read_usage
from dln_core.llm.base import Response, ScoreRequest

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


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
    if not len(tokens) == len(offsets) == len(values):
        raise ValueError("the lists of an echo differ in length")
    prompt = f"{context} {target}"
    spans = [
        (start, end)
        for start, end in itertools.pairwise(_places(prompt, tokens, offsets))
        # Behind the prompt stands the token that was generated.
        if start < len(prompt)
    ]
    first = next((i for i, (_, end) in enumerate(spans) if end > len(context)), len(spans))
    return _Row(tuple(float(value) for value in values[first : len(spans)]), len(spans))


def _places(prompt: str, tokens: Sequence[str], offsets: Sequence[int]) -> list[int]:
    """Where in the prompt each token begins, and where the last one ends."""
    ends = list(itertools.accumulate(map(len, tokens), initial=0))
    text = "".join(tokens)
    # Some servers write a beginning-of-text token before the prompt.
    begin = text.find(prompt)
    if begin >= 0:
        return [end - begin for end in ends]
    # Characters of several tokens are shown as replacement characters, of which offsets count more
    # than there are.  At either end may stand a token that is none of the prompt's.
    for first, last in itertools.product((0, 1), (-2, -1)):
        begin, end = ends[first:][0], ends[last:][0]
        places = _unreplaced(text[begin:end], prompt)
        if places:
            return [places[min(max(begin, place), end) - begin] for place in ends]
    # Tokens may be written otherwise than the prompt: bytes by their numbers, spaces by signs.
    return [*offsets, offsets[-1] + len(tokens[-1])]


def _unreplaced(shown: str, prompt: str) -> list[int] | None:
    """Where in the prompt each place of a text stands that shows it with replaced characters.

    Returns:
        A place for each place of the text and its end; None if it does not show the prompt.
    """
    *pieces, last = re.split(f"({REPLACEMENT}+)", shown)
    places: list[int] = []
    begin = num_replaced = 0
    for piece in pieces:
        if piece.startswith(REPLACEMENT):
            # Which of the characters a replacement stands for is not told.
            places += [begin] * len(piece)
            num_replaced = len(piece)
            continue
        begin = prompt.find(piece, begin + (num_replaced > 0), begin + num_replaced + len(piece))
        if begin < 0:
            return None
        places += range(begin, begin + len(piece))
        begin += len(piece)
    gap = len(prompt) - len(last) - begin
    if not pieces or not 0 < gap <= num_replaced or not prompt.endswith(last):
        return None
    return [*places, *range(len(prompt) - len(last), len(prompt) + 1)]
