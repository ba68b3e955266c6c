"""Finding out how an endpoint can score texts: the scoring ladder.

The probe knows nothing of the endpoint beforehand.  It asks for a greedy continuation and takes a
rung for real only if the rung finds that continuation more probable than a senseless one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """How an endpoint is used: ``api`` for texts, ``rung`` for their log-probs (None for none)."""

    api: str
    rung: str | None


def candidate_routes(config: LLMConfig, rung: str) -> list[Route]:
    """The routes that the settings allow, best first.

    Hidden texts must be scored in the form in which they were sampled, so an echo, which only the
    completions route gives, goes with completions, and next-token labels go with chat.
    """
    chat_first = ["chat", "completions"] if config.api == "auto" else [config.api]
    routes = [Route(api, "score") for api in chat_first]
    routes.append(Route("completions", "echo"))
    routes.append(Route("chat", "label"))
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
            return route
    raise ScoringError(
        f"{config.model} at {config.base_url} cannot score texts (scoring.rung={rung}, "
        f"llm.api={config.api}); use an endpoint that returns log-probs. Tried "
        + "; ".join(met or ["nothing: these two settings exclude each other"])
    )


async def _check(model: LanguageModel, route: Route) -> None:
    greedy = (await model.send(GenerateRequest(messages=PROBE, max_tokens=4))).choices[0].text
    if not greedy:
        raise ScoringError("the greedy continuation was empty")
    request = ScoreRequest(messages=PROBE, targets=(greedy, SENSELESS))
    likely, unlikely = (await model.send(request)).choices
    if not likely.mean_logprob > unlikely.mean_logprob:
        raise ScoringError(
            f"it finds its own continuation {greedy!r} ({likely.mean_logprob:.2f} nats a token) no "
            f"more probable than {SENSELESS!r} ({unlikely.mean_logprob:.2f})"
        )
    if route.rung != "label" and likely.logprob == 0.0:
        raise ScoringError("its log-probs are all zero")
