"""Small worlds and requests whose every probability is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from dln_core.config import LLMConfig
from dln_core.llm.base import Choice, GenerateRequest, Request, Response, ScoreRequest
from dln_core.types import Message, Usage

CITIES = {"Kyoto": 0.2, "Osaka Bay": 0.1, "Tokyo": 0.7}
QUESTION = (Message("user", "Name a city of Japan."),)
GENERATE = GenerateRequest(messages=QUESTION, max_tokens=8)
SCORE = ScoreRequest(messages=QUESTION, targets=("Kyoto", "Tokyo"))


@dataclass(frozen=True)
class FixedWorld:
    """A world in which the same texts may follow whatever was said."""

    probabilities: Mapping[str, float] = field(default_factory=lambda: dict(CITIES))

    def distribution(self, request: Request) -> Mapping[str, float]:
        return self.probabilities


class Recorder:
    """A model that remembers what it was sent and how many requests it held at once."""

    def __init__(self, usage: Usage | None = None) -> None:
        self.usage = usage or Usage(10, 2)
        self.requests: list[Request] = []
        self.in_flight = 0
        self.max_in_flight = 0

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        self.in_flight -= 1
        return Response((Choice(f"answer {len(self.requests)}"),), self.usage)


def endpoint_config(base_url: str) -> LLMConfig:
    """Settings of an endpoint that needs nothing special."""
    return LLMConfig(provider="openai_compatible", model="simulated", base_url=base_url)
