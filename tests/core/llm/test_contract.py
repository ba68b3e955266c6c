"""What every language model keeps: engines, rungs and the transports around them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from dln_core.concurrency import map_bounded
from dln_core.config import LimitsConfig, PriceConfig
from dln_core.llm.base import GenerateRequest, LanguageModel, Response
from dln_core.llm.cache import Cache
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import around_endpoint
from dln_core.llm.dedupe import Dedupe
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.ledger import Ledger, Metered
from dln_core.llm.limits import Limits
from dln_core.llm.local_limiter import LocalLimiter
from dln_core.llm.payer import Payer
from dln_core.llm.retry import Retry
from dln_core.llm.simulated import SimulatedModel
from dln_core.llm.store import AnswerStore
from dln_core.types import Message
from tests.core.llm.toys import CITIES, GENERATE, QUESTION, SCORE, FixedWorld, endpoint_config
from tests.servers import ALL_ROUTES, serve

Open = Callable[[AsyncExitStack, Path], Awaitable[LanguageModel]]
LIMITS = LimitsConfig(max_concurrency=2, requests_per_minute=60_000, tokens_per_minute=6_000_000)


async def simulated(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    return SimulatedModel(FixedWorld())


def endpoint(api: str, rung: str | None, provider: str = "openai_compatible") -> Open:
    async def opened(stack: AsyncExitStack, folder: Path) -> LanguageModel:
        switches = {"routes": ALL_ROUTES, "prompt_logprobs": "true"}
        server = await stack.enter_async_context(serve(FixedWorld(), **switches))
        config = replace(endpoint_config(server.base_url), provider=provider)
        session = await stack.enter_async_context(open_session(config))
        return Endpoint(config, session, Route(api, rung))

    return opened


async def cached(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    store = AnswerStore(folder / "answers.db")
    stack.callback(store.close)
    return Cache(
        SimulatedModel(FixedWorld()), {}, rung="score", read=[store], write=[store], payer=Payer()
    )


async def retried(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    return Retry(SimulatedModel(FixedWorld()), 3)


async def deduped(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    return Dedupe(SimulatedModel(FixedWorld()))


async def limited(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    return Limits(SimulatedModel(FixedWorld()), LocalLimiter(LIMITS))


async def metered(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    return Metered(SimulatedModel(FixedWorld()), [Ledger()], PriceConfig())


async def all_together(stack: AsyncExitStack, folder: Path) -> LanguageModel:
    engine = await endpoint("completions", "echo")(stack, folder)
    store = AnswerStore(folder / "answers.db")
    stack.callback(store.close)
    shared = around_endpoint(
        engine, Route("completions", "echo", True), LIMITS, LocalLimiter(LIMITS)
    )
    stored = Cache(shared, {}, rung="echo", read=[store], write=[store], payer=Payer())
    return Metered(stored, [Ledger()], PriceConfig())


# By what they can do: score texts, give equal answers to equal seeds, write texts.
SCORERS: dict[str, Open] = {
    "simulated": simulated,
    "chat score": endpoint("chat", "score"),
    "completions score": endpoint("completions", "score"),
    "echo": endpoint("completions", "echo"),
    "prompt_logprobs": endpoint("chat", "prompt_logprobs"),
    "label": endpoint("chat", "label"),
    "azure": endpoint("chat", "label", "azure"),
    "cache": cached,
    "retry": retried,
    "dedupe": deduped,
    "limits": limited,
    "meter": metered,
    "all": all_together,
}
SEEDED = SCORERS | {
    "chat": endpoint("chat", "monte_carlo"),
    "completions": endpoint("completions", None),
}
WRITERS = SEEDED | {
    "responses": endpoint("responses", "monte_carlo"),
    "messages": endpoint("messages", "monte_carlo", "anthropic"),
}


async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LanguageModel]:
    async with AsyncExitStack() as stack:
        yield await request.param(stack, tmp_path)


scorer = pytest.fixture(params=SCORERS.values(), ids=SCORERS)(opened)
seeded = pytest.fixture(params=SEEDED.values(), ids=SEEDED)(opened)
writer = pytest.fixture(params=WRITERS.values(), ids=WRITERS)(opened)


@pytest.mark.parametrize(
    "targets", [("Tokyo",), ("Tokyo", "Kyoto"), tuple(reversed(CITIES)), ("Oslo", "Tokyo", "Rome")]
)
async def test_a_scoring_has_one_choice_a_target_in_order(scorer, targets):
    response = await scorer.send(replace(SCORE, targets=targets))
    assert tuple(choice.text for choice in response.choices) == targets
    for choice in response.choices:
        assert choice.token_logprobs
        assert all(math.isfinite(value) and value <= 0 for value in choice.token_logprobs)


async def test_more_probable_texts_score_higher(scorer):
    response = await scorer.send(replace(SCORE, targets=("Kyoto", "Tokyo")))
    kyoto, tokyo = response.choices
    assert tokyo.logprob - kyoto.logprob == pytest.approx(math.log(0.7 / 0.2))


async def test_a_generation_is_one_text_that_is_not_empty(writer):
    response = await writer.send(GENERATE)
    (choice,) = response.choices
    assert choice.text == choice.text.strip() != ""
    assert response.usage.completion_tokens >= 1


async def test_greedy_requests_take_the_most_probable_text_every_time(writer):
    answers = [await writer.send(replace(GENERATE, seed=seed)) for seed in (1, 1, 2)]
    assert {answer.choices[0].text for answer in answers} == {"Tokyo"}


async def test_equal_sampled_requests_get_equal_answers_and_seeds_differ(seeded):
    requests = [replace(GENERATE, temperature=1.0, seed=seed) for seed in range(25)]
    first = await map_bounded(seeded.send, requests)
    second = await map_bounded(seeded.send, requests)
    assert texts(first) == texts(second)
    assert set(texts(first)) == set(CITIES)


async def test_concurrent_requests_get_their_own_answers(scorer):
    requests = [replace(SCORE, targets=(city,)) for city in CITIES for _ in range(4)]
    responses = await map_bounded(scorer.send, requests)
    assert texts(responses) == [request.targets[0] for request in requests]


async def test_a_conversation_of_several_turns_is_taken(writer):
    turns = (Message("user", "One?"), Message("assistant", "1"), *QUESTION)
    response = await writer.send(GenerateRequest(messages=turns, max_tokens=4))
    assert response.choices[0].text == "Tokyo"


async def test_a_cancelled_request_leaves_the_model_usable(writer):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await writer.send(replace(GENERATE, seed=99))
    assert scope.cancelled_caught
    with anyio.fail_after(60):
        assert (await writer.send(replace(GENERATE, seed=99))).choices[0].text == "Tokyo"


def texts(responses: list[Response]) -> list[str]:
    return [response.choices[0].text for response in responses]
