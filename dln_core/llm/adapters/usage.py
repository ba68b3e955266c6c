"""Token counts, by whatever names they come, and their division among the prompts of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dln_core.llm.base import Response
from dln_core.types import Usage


def read_usage(body: Any) -> Usage:
    """Read the token counts; an endpoint that sends none counts as 0.

    What a model thought before it answered is part of the completion: some endpoints count it in
    the total alone.
    """
    told = body.get("usage") if isinstance(body, dict) else None
    counts = told if isinstance(told, dict) else {}
    prompt = _count(counts, "prompt_tokens") or sum(
        _count(counts, name)
        # Anthropic counts what goes through its cache apart.
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    completion = _count(counts, "completion_tokens") or _count(counts, "output_tokens")
    return Usage(prompt, max(completion, _count(counts, "total_tokens") - prompt))


def divide_usage(usage: Usage, prompt_tokens: Sequence[int]) -> list[Usage]:
    """Divide a call's tokens among its prompts, which generate equally many.

    Args:
        usage: Tokens of the call.
        prompt_tokens: Of each prompt; the endpoint may count some more or less for every prompt,
            such as one for its beginning.  What it counts otherwise is divided in proportion.
    """
    more, rest = divmod(usage.prompt_tokens - sum(prompt_tokens), len(prompt_tokens))
    counted = [count + more for count in prompt_tokens]
    is_known = not rest and min(counted) >= 0
    prompts = counted if is_known else divide(usage.prompt_tokens, prompt_tokens)
    completions = divide(usage.completion_tokens, [1] * len(prompt_tokens))
    return [Usage(*counts) for counts in zip(prompts, completions, strict=True)]


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights; the shares add up to it.

    What the rounding leaves goes to the largest remainders, of equal ones to the first.  Weights
    that are all zero count as equal.
    """
    weights = weights if any(weights) else [1] * len(weights)
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def joined(targets: Sequence[Response]) -> Response:
    """The answer to a scoring whose targets the endpoint counts each by itself."""
    choices = tuple(choice for response in targets for choice in response.choices)
    usage = sum((response.usage for response in targets), Usage())
    return Response(choices, usage, parts=tuple(targets))


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return max(0, int(value)) if isinstance(value, int | float) else 0
