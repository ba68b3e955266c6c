"""Parameters by the names that a route has for them, without those that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dln_core.config import LLMConfig
from dln_core.llm.base import GenerateRequest

OPENAI_NAMES = {name: name for name in ("max_tokens", "temperature", "seed", "stop")}


def sampling(
    config: LLMConfig, request: GenerateRequest, names: Mapping[str, str] = OPENAI_NAMES
) -> dict[str, Any]:
    """Return how a text is to be sampled, in a route's words.

    Args:
        config: ``omit`` says what is not sent.
        request: What is asked for.
        names: The route's name of each parameter that it has.
    """
    values: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "stop": list(request.stop),
    }
    # No stop strings are written as no parameter.
    return {
        name: values[setting]
        for setting, name in names.items()
        if setting not in config.omit and values[setting] != []
    }


def asks_logprobs(config: LLMConfig, request: GenerateRequest) -> bool:
    """Whether the sampled tokens' log-probs are asked for."""
    return request.logprobs and "logprobs" not in config.omit


def scoring_body(config: LLMConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what a rung sends: the model and ``extra`` added, ``omit`` taken away."""
    kept = {name: value for name, value in values.items() if name not in config.omit}
    return {"model": config.model, **kept, **config.extra}
