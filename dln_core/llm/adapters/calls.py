"""What an adapter makes and reads, and the two kinds of adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dln_core.config import LLMConfig
from dln_core.llm.base import Choice, GenerateRequest, Response, ScoreRequest


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    Attributes:
        path: Below the base address.
        body: What is sent, as JSON values.
        beside_v1: Whether the path stands beside the base address's ``/v1`` instead of below it.
    """

    path: str
    body: dict[str, Any]
    beside_v1: bool = False


# Sends a call and returns the JSON values that came back.
Post = Callable[[Call], Awaitable[Any]]


class Generation(Protocol):
    """How one api is asked for a text; the modules ``completions``, ``chat``, … are such."""

    def write(self, config: LLMConfig, request: GenerateRequest, /) -> Call:
        """Write the request down."""
        ...

    def read(self, request: GenerateRequest, body: Any, /) -> Choice:
        """Read the text that came back.

        Raises:
            TransientError: If the body lacks what every answer has.
        """
        ...


class Scoring(Protocol):
    """How one rung scores texts; the modules ``score``, ``echo``, … are such."""

    async def score(
        self, config: LLMConfig, api: str, request: ScoreRequest, post: Post, /
    ) -> Response:
        """Score every target.

        Raises:
            ScoringError: If what came back is not the targets' log-probs.
        """
        ...
