"""Token counts, by whatever names they come, and their division among the parts of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dln_core.types import Usage


def read_usage(body: Any) -> Usage:
    """Read the token counts; an endpoint that sends none counts as 0.

    What a model thought before it answered is part of the completion: some endpoints count it in
    the total alone.
    """
    counts = (body.get("usage") if isinstance(body, dict) else None) or {}
    prompt = _count(counts, "prompt_tokens") or sum(
        _count(counts, name)
        # Anthropic counts what goes through its cache apart.
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    completion = _count(counts, "completion_tokens") or _count(counts, "output_tokens")
    return Usage(prompt, max(completion, _count(counts, "total_tokens") - prompt))


def divide_usage(usage: Usage, prompts: Sequence[int], completions: Sequence[int]) -> list[Usage]:
    """Divide a call's tokens among its parts, in proportion to their prompts and completions."""
    return [
        Usage(prompt, completion)
        for prompt, completion in zip(
            divide(usage.prompt_tokens, prompts),
            divide(usage.completion_tokens, completions),
            strict=True,
        )
    ]


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


def _count(counts: dict[str, Any], name: str) -> int:
    return int(counts.get(name) or 0)
