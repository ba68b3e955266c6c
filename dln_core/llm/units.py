"""What is stored of a request, under which key, and how it is put together again.

Where whole texts are scored, a score belongs to a pair of context and target and is stored by
itself, so that a text that comes again among others is not asked for again.  Every other request is
one unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dln_core.llm.base import Choice, Request, Response, ScoreRequest, without_role
from dln_core.types import Usage

KEY_BYTES = 16


class Keys:
    """Hashes of a model's identity and of all in a request that the answer depends on.

    Args:
        identity: What makes one model different from another (name, revision, rung, …).
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        written = orjson.dumps(dict(identity), option=orjson.OPT_SORT_KEYS)
        self._model = hashlib.blake2b(written + b"\n", digest_size=KEY_BYTES)

    def whole(self, request: Request) -> bytes:
        """The key of a request as one unit; the role is no part of it."""
        hashed = self._model.copy()
        hashed.update(orjson.dumps([type(request).__name__, without_role(request)]))
        return hashed.digest()

    def pairs(self, request: ScoreRequest) -> dict[str, bytes]:
        """The key of every distinct target in its context."""
        context = self._model.copy()
        context.update(orjson.dumps(["pair", request.messages]))
        keys = {}
        for target in request.targets:
            hashed = context.copy()
            hashed.update(target.encode())
            keys[target] = hashed.digest()
        return keys


def encode_whole(response: Response) -> bytes:
    """Write an answer as one unit."""
    choices = [[c.text, c.token_logprobs, c.finish_reason] for c in response.choices]
    return orjson.dumps([choices, _counts(response.usage)])


def decode_whole(stored: bytes) -> Response:
    """Read what ``encode_whole`` wrote."""
    choices, counts = orjson.loads(stored)
    return Response(
        choices=tuple(
            Choice(text, None if logprobs is None else tuple(logprobs), reason)
            for text, logprobs, reason in choices
        ),
        usage=Usage(*counts),
        paid=False,
    )


def encode_pairs(response: Response) -> list[bytes]:
    """Write each target's log-probs with its share of the usage, which has two parts.

    Where the endpoint counts each target by itself, all that it counts is the target's own.  Where
    it counts the context once a call, the target's own tokens are those that have log-probs, as
    prompt or as completion tokens, whichever the endpoint counts them as; the rest of the call's
    usage is the context's.
    """
    if response.parts:
        return [
            orjson.dumps([part.choices[0].token_logprobs, [0, 0], _counts(part.usage)])
            for part in response.parts
        ]
    rows = [choice.token_logprobs or () for choice in response.choices]
    total, (prompt, completion) = sum(map(len, rows)), _counts(response.usage)
    is_completion = completion == total
    is_prompt = not is_completion and prompt >= total
    context = [prompt - total * is_prompt, completion - total * is_completion]
    return [
        orjson.dumps([row, context, [len(row) * is_prompt, len(row) * is_completion]])
        for row in rows
    ]


def decode_pairs(targets: Sequence[str], stored: Sequence[bytes], shares_context: bool) -> Response:
    """Put the answer to a scoring together from its pairs.

    Its usage is what the endpoint would count for the whole request.  So it depends on the request
    alone, and not on which pairs were stored before or which other targets they were sent with.

    Args:
        targets: The targets of the request.
        stored: What ``encode_pairs`` wrote of each.
        shares_context: Whether the endpoint counts a context once a call, as the rung ``score``
            does, or once a target.
    """
    choices, counts, contexts = [], [], []
    for target, written in zip(targets, stored, strict=True):
        row, context, own = orjson.loads(written)
        choices.append(Choice(target, tuple(row)))
        counts.append(own)
        contexts.append(context)
    counts += [max(contexts)] if shares_context else contexts
    prompt, completion = map(sum, zip(*counts, strict=True))
    return Response(tuple(choices), Usage(prompt, completion), paid=False)


def _counts(usage: Usage) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens]
