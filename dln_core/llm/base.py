"""The one interface to a language model: a request in, a response out.

Engines and the small transports around them (cache, retry, limits) all implement
``LanguageModel``, so that any of them can stand where another stood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from dln_core.types import Message, Role, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Ask for one continuation of a conversation whose last turn is the user's.

    Attributes:
        messages: The conversation so far.
        max_tokens: Upper bound on the tokens of the continuation.
        temperature: 0 takes the most probable token every time.
        seed: Seed of this one sample.
        stop: Strings that end the continuation; they are not part of it.
        role: What the call is counted as; the answer does not depend on it.
        logprobs: Whether the choice is to have its tokens' log-probs, where the endpoint gives
            them and scoring the text would read the same tokens.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    role: Role = Role.forward
    logprobs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Ask for log p(target | messages) of every target, each taken as the whole next turn.

    Attributes:
        messages: The conversation so far.
        targets: One or more non-empty texts.
        role: What the call is counted as; the answer does not depend on it.
    """

    messages: tuple[Message, ...]
    targets: tuple[str, ...]
    role: Role = Role.score


@dataclass(frozen=True, slots=True)
class RequestList:
    """Scorings that go to the endpoint in one call.

    There are no lists of generations: an endpoint counts the tokens of a call, and what a request
    counts must not depend on its company.
    """

    requests: tuple[ScoreRequest, ...]


Request = GenerateRequest | ScoreRequest
Sendable = Request | RequestList
Asked = TypeVar("Asked", contravariant=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """One text with its token log-probs in nats; no log-probs where the endpoint gives none."""

    text: str
    token_logprobs: tuple[float, ...] | None = None
    finish_reason: str = "stop"

    @property
    def logprob(self) -> float:
        """Log-probability of the whole text, in nats.

        Raises:
            ValueError: If the endpoint gave no log-probs.
        """
        if self.token_logprobs is None:
            raise ValueError("this choice has no log-probs; ask with a ScoreRequest")
        return sum(self.token_logprobs)

    @property
    def mean_logprob(self) -> float:
        """Log-probability per token, in nats."""
        return self.logprob / max(1, len(self.token_logprobs or ()))


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request: one choice for a generation, one a target for a scoring.

    Attributes:
        choices: In the order of the request's targets; none for a list of requests.
        usage: Tokens of the call.
        paid: Whether this answer was sent for; False if it came from a store.
        parts: The answers to the requests of a list, or to the targets of a scoring that the
            endpoint counts one by one; in their order, and their usages add up to ``usage``.
        sent: Tokens of what was sent for, where that is not the whole of ``usage``; None where it
            is.
    """

    choices: tuple[Choice, ...]
    usage: Usage
    paid: bool = True
    parts: tuple[Response, ...] = ()
    sent: Usage | None = None

    @property
    def paid_usage(self) -> Usage:
        """Tokens that were sent for; none if the whole answer came from a store."""
        if not self.paid:
            return Usage()
        return self.usage if self.sent is None else self.sent


class Sender(Protocol[Asked]):
    """Answers what it is asked; retries and limits go around one without looking inside."""

    async def send(self, request: Asked) -> Response:
        """Answer one request.

        Raises:
            LLMError: If the request failed for good.
        """
        ...


class LanguageModel(Sender[Request], Protocol):
    """Anything that answers requests: an engine, or a transport around one."""


def num_sequences(request: Sendable) -> int:
    """Texts that the endpoint's model has to read: what ``max_concurrency`` counts."""
    if isinstance(request, RequestList):
        return sum(num_sequences(one) for one in request.requests)
    return len(request.targets) if isinstance(request, ScoreRequest) else 1


def without_role(request: Request) -> Request:
    """The request as far as its answer depends on it: equal ones get equal answers."""
    return replace(request, role=Role.forward)
