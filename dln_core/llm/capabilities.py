"""Finding out how an endpoint can score texts: the scoring ladder.

The probe knows nothing of the endpoint beforehand.  It asks for a greedy continuation and takes a
rung for real only if the rung finds that continuation more probable than a senseless one and agrees
with the log-probs that the endpoint tells of what it writes.  The last rung, ``monte_carlo``,
asks for texts alone: who scores by it estimates log-probs from samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dln_core.config import LLMConfig
from dln_core.config.endpoint import RUNGS
from dln_core.errors import (
    LLMError,
    ParameterError,
    ScoringError,
    UnreachableError,
)
from dln_core.llm.adapters.providers import provider_of
from dln_core.llm.base import (
    Choice,
    GenerateRequest,
    LanguageModel,
    Response,
    ScoreRequest,
)
from dln_core.llm.contact import PROBE_ATTEMPTS, Contact, FailingError
from dln_core.types import Message

SENSELESS = "Zqx vrrk"
PROBE = (
    Message("user", "Which city is the capital of France?"),
    Message("assistant", "Paris"),
    Message("user", "Which city is the capital of Japan?"),
)
# Models that think first have said nothing after a few tokens.
NUM_TOKENS = (4, 1024)
# Nats a token: more than rounding and batching make, less than another text would.
TOLERANCE = 0.5

# The apis on which a rung works; the last rung works on all.
_APIS = {
    "score": ("chat", "completions"),
    "echo": ("completions",),
    "prompt_logprobs": ("chat",),
    "label": ("chat",),
}
_NEED_LOGPROBS = ("echo", "prompt_logprobs", "label")


@dataclass(frozen=True, slots=True)
class Route:
    """How an endpoint is used.

    Attributes:
        api: ``completions``, ``chat``, ``responses`` or ``messages``.
        rung: How texts are scored; ``monte_carlo`` by samples alone, None not at all.
        refused: What each better route met, in a sentence each.
    """

    api: str
    rung: str | None
    # Why a route was found is no part of what it is.
    refused: tuple[str, ...] = field(default=(), compare=False)

    @property
    def gives_texts(self) -> bool:
        """Whether whole texts are scored."""
        return self.rung in ("score", "echo", "prompt_logprobs")

    @property
    def gives_labels(self) -> bool:
        """Whether the labels of an answer are scored."""
        return self.gives_texts or self.rung == "label"


def candidate_routes(config: LLMConfig, rung: str) -> list[Route]:
    """The routes that the settings allow, best first.

    Hidden texts must be scored in the form in which they were sampled, so every rung goes with the
    api that samples for it.  Sampling alone, which any endpoint can do, comes last.
    """
    apis = _apis(config)
    skipped = _NEED_LOGPROBS if "logprobs" in config.omit else ()
    return [
        Route(api, name)
        for name in RUNGS
        for api in apis
        if rung in ("auto", name) and name not in skipped and api in _APIS.get(name, apis)
    ]


def unscored_route(config: LLMConfig) -> Route:
    """The route of a model that only writes texts."""
    return Route(_apis(config)[0], None)


async def probe(
    open_route: Callable[[Route], LanguageModel],
    config: LLMConfig,
    rung: str = "auto",
    max_attempts: int = PROBE_ATTEMPTS,
) -> Route:
    """Take the best route that really works.

    Args:
        open_route: Makes the model that uses a route; the probe tries again by itself.
        config: The endpoint's settings.
        rung: ``auto``, or the one rung to try.
        max_attempts: Tries of one request in an outage, once the endpoint has answered.

    Returns:
        The route, with what each better one met.

    Raises:
        AuthenticationError: If the endpoint refuses the key.
        ParameterError: If it refuses a parameter that every request has.
        ScoringError: If no allowed rung works, with what each one met.
        UnreachableError: If the endpoint cannot be reached; an outage never lowers the rung.
    """
    contact = Contact(max_attempts)
    continuations = _Continuations(open_route, config, contact)
    met: list[str] = []
    for route in candidate_routes(config, rung):
        try:
            greedy = await continuations.of(route.api)
            if route.rung != "monte_carlo":
                _compare(await contact.send(open_route(route), _comparing(greedy)), route, greedy)
        except LLMError as error:
            if contact.is_broken_by(error):
                raise
            met.append(f"{route.rung} over {route.api}: {error}")
        else:
            return replace(route, refused=tuple(met))
    continuations.raise_common_failure()
    remedy = (
        "check llm.base_url and llm.model"
        if rung in ("auto", "monte_carlo")
        else "use an endpoint that returns log-probs, or scoring.rung=auto"
    )
    place = f" at {config.base_url}" if config.base_url else ""
    raise ScoringError(
        f"{config.model}{place} cannot score texts (scoring.rung={rung}, "
        f"llm.api={config.api}); {remedy}. Tried "
        + "; ".join(met or ["nothing: these settings exclude each other"])
    )


class _Continuations:
    """The greedy continuations by api: each is asked for once, whatever becomes of it."""

    def __init__(
        self, open_route: Callable[[Route], LanguageModel], config: LLMConfig, contact: Contact
    ) -> None:
        self._open_route = open_route
        self._contact = contact
        self._has_logprobs = "logprobs" not in config.omit
        self._known: dict[str, Choice | LLMError] = {}

    async def of(self, api: str) -> Choice:
        """Ask for the continuation, with its log-probs where they are told, unless it is known.

        Raises:
            LLMError: If it is empty or the request failed, now or before.
        """
        if api not in self._known:
            try:
                self._known[api] = await self._ask(self._open_route(Route(api, None)))
            except LLMError as error:
                self._known[api] = error
        known = self._known[api]
        if isinstance(known, LLMError):
            raise known
        return known

    def raise_common_failure(self) -> None:
        """Raise what kept every api from writing at all, if one sentence says it."""
        failures = [known for known in self._known.values() if isinstance(known, LLMError)]
        if len(failures) < len(self._known):
            return
        is_down = all(isinstance(failure, FailingError) for failure in failures)
        for failure in failures:
            if is_down:
                raise UnreachableError(str(failure)) from failure
            if isinstance(failure, ParameterError):
                raise failure

    async def _ask(self, model: LanguageModel) -> Choice:
        for num_tokens in NUM_TOKENS:
            request = GenerateRequest(messages=PROBE, max_tokens=num_tokens)
            choice = (await self._contact.send(model, request)).choices[0]
            if choice.text:
                return await self._with_logprobs(model, request) or choice
        raise ScoringError("the greedy continuation was empty")

    async def _with_logprobs(self, model: LanguageModel, request: GenerateRequest) -> Choice | None:
        if not self._has_logprobs:
            return None
        asking = replace(request, logprobs=True)
        try:
            choice = (await self._contact.send(model, asking)).choices[0]
        except LLMError as error:
            if self._contact.is_broken_by(error):
                raise
            # What does not tell log-probs may still score texts.
            return None
        return choice if choice.text else None


def _comparing(greedy: Choice) -> ScoreRequest:
    return ScoreRequest(messages=PROBE, targets=(greedy.text, SENSELESS))


def _compare(scored: Response, route: Route, greedy: Choice) -> None:
    likely, unlikely = scored.choices
    if not likely.mean_logprob > unlikely.mean_logprob:
        raise ScoringError(
            f"it finds its own continuation {greedy.text!r} ({likely.mean_logprob:.2f} nats a "
            f"token) no more probable than {SENSELESS!r} ({unlikely.mean_logprob:.2f})"
        )
    if route.rung == "label":
        # It reads the very numbers that it would be compared with.
        return
    if likely.logprob == 0.0:
        raise ScoringError("its log-probs are all zero")
    # Where sampling makes the greedy tokens certain, their log-probs say nothing.
    if not greedy.token_logprobs or greedy.logprob == 0.0:
        return
    if abs(likely.logprob - greedy.logprob) > TOLERANCE * len(greedy.token_logprobs):
        raise ScoringError(
            f"it gives its own continuation {greedy.text!r} {likely.logprob:.2f} nats, but wrote "
            f"it with {greedy.logprob:.2f}: these are the log-probs of another text"
        )


def _apis(config: LLMConfig) -> tuple[str, ...]:
    return provider_of(config).apis if config.api == "auto" else (config.api,)
