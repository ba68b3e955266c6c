"""Finding out how an endpoint can score texts: the scoring ladder.

The probe knows nothing of the endpoint beforehand.  It asks for a greedy continuation and takes a
rung for real only if the rung finds that continuation more probable than a senseless one.  The last
rung, ``monte_carlo``, asks for texts alone: who scores by it estimates log-probs from samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dln_core.config import LLMConfig
from dln_core.errors import AuthenticationError, LLMError, ScoringError, UnreachableError
from dln_core.llm.base import GenerateRequest, LanguageModel, ScoreRequest
from dln_core.types import Message

SENSELESS = "Zqx vrrk"
PROBE = (
    Message("user", "Which city is the capital of France?"),
    Message("assistant", "Paris"),
    Message("user", "Which city is the capital of Japan?"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """How an endpoint is used.

    Attributes:
        api: ``chat`` or ``completions``.
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
        return self.rung in ("score", "echo")

    @property
    def gives_labels(self) -> bool:
        """Whether the labels of an answer are scored."""
        return self.gives_texts or self.rung == "label"


def candidate_routes(config: LLMConfig, rung: str) -> list[Route]:
    """The routes that the settings allow, best first.

    Hidden texts must be scored in the form in which they were sampled, so an echo, which only the
    completions route gives, goes with completions, and next-token labels go with chat.  Sampling
    alone, which any endpoint can do, comes last.
    """
    chat_first = ["chat", "completions"] if config.api == "auto" else [config.api]
    routes = [Route(api, "score") for api in chat_first]
    routes.append(Route("completions", "echo"))
    routes.append(Route("chat", "label"))
    routes += [Route(api, "monte_carlo") for api in chat_first]
    return [
        route
        for route in routes
        if config.api in ("auto", route.api) and rung in ("auto", route.rung)
    ]


async def probe(
    open_route: Callable[[Route], LanguageModel], config: LLMConfig, rung: str = "auto"
) -> Route:
    """Take the best route that really works.

    Args:
        open_route: Makes the model that uses a route.
        config: The endpoint's settings.
        rung: ``auto``, or the one rung to try.

    Returns:
        The route, with what each better one met.

    Raises:
        AuthenticationError: If the endpoint refuses the key.
        ScoringError: If no allowed rung works, with what each one met.
        UnreachableError: If the endpoint cannot be reached.
    """
    met: list[str] = []
    for route in candidate_routes(config, rung):
        try:
            await _check(open_route(route), route)
        except (AuthenticationError, UnreachableError):
            raise
        except LLMError as error:
            met.append(f"{route.rung} over {route.api}: {error}")
        else:
            return replace(route, refused=tuple(met))
    remedy = (
        "check llm.base_url and llm.model"
        if rung in ("auto", "monte_carlo")
        else "use an endpoint that returns log-probs, or scoring.rung=auto"
    )
    place = f" at {config.base_url}" if config.base_url else ""
    raise ScoringError(
        f"{config.model}{place} cannot score texts (scoring.rung={rung}, "
        f"llm.api={config.api}); {remedy}. Tried "
        + "; ".join(met or ["nothing: these two settings exclude each other"])
    )


async def _check(model: LanguageModel, route: Route) -> None:
    greedy = (await model.send(GenerateRequest(messages=PROBE, max_tokens=4))).choices[0].text
    if not greedy:
        raise ScoringError("the greedy continuation was empty")
    if route.rung == "monte_carlo":
        return
    request = ScoreRequest(messages=PROBE, targets=(greedy, SENSELESS))
    likely, unlikely = (await model.send(request)).choices
    if not likely.mean_logprob > unlikely.mean_logprob:
        raise ScoringError(
            f"it finds its own continuation {greedy!r} ({likely.mean_logprob:.2f} nats a token) no "
            f"more probable than {SENSELESS!r} ({unlikely.mean_logprob:.2f})"
        )
    if route.rung != "label" and likely.logprob == 0.0:
        raise ScoringError("its log-probs are all zero")
