"""A language model with its transports, opened by its settings."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.config import CacheConfig, LimitsConfig, LLMConfig, PriceConfig
from dln_core.errors import ConfigError, ScoringError
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.llm.limits import Cost, Lease, Limiter, LimiterSource
from dln_core.llm.local_limiter import LocalLimiters
from dln_core.types import Role
from tests.core.llm.toys import CITIES, GENERATE, QUESTION, SCORE, FixedWorld, endpoint_config
from tests.servers import ALL_ROUTES, serve

CHAT_SCORE = Route("chat", "score")
LABEL = Route("chat", "label")
CHAT_SAMPLES = Route("chat", "monte_carlo")


@asynccontextmanager
async def connected(
    config: LLMConfig,
    folder: Path,
    *,
    rung: str = "auto",
    ledger: Ledger | None = None,
    limiters: LimiterSource | None = None,
) -> AsyncIterator[Connection]:
    async with (
        open_stores(CacheConfig(mode="off", dir=str(folder)), "sweep") as stores,
        connect(
            config,
            rung=rung,
            limits=LimitsConfig(),
            limiters=limiters or LocalLimiters(),
            stores=stores,
            ledgers=[ledger] if ledger else [],
        ) as connection,
    ):
        yield connection


async def test_an_address_that_is_missing_is_a_wrong_setting_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="serve toy"):
        async with connected(LLMConfig(provider="local", model="toy"), tmp_path):
            pytest.fail("it was opened")


@pytest.mark.parametrize("rung", ["score", "echo", "prompt_logprobs"])
async def test_rungs_that_score_whole_texts_agree_with_the_world(tmp_path, rung):
    request = replace(SCORE, targets=tuple(CITIES))
    async with (
        serve(FixedWorld(), routes=ALL_ROUTES, prompt_logprobs="true") as server,
        connected(endpoint_config(server.base_url), tmp_path, rung=rung) as connection,
    ):
        response = await connection.model.send(request)
    probabilities = [math.exp(choice.logprob) for choice in response.choices]
    assert probabilities == pytest.approx(list(CITIES.values()))


class Counting:
    """A source of limiters that counts the HTTP calls that they were asked to grant."""

    def __init__(self) -> None:
        self.num_calls = 0

    @asynccontextmanager
    async def open(self, config: LLMConfig, limits: LimitsConfig) -> AsyncIterator[Limiter]:
        async with LocalLimiters().open(config, limits) as self._inner:
            yield self

    async def acquire(self, cost: Cost) -> Lease:
        self.num_calls += cost.num_calls
        return await self._inner.acquire(cost)


@pytest.mark.parametrize("rung", ["score", "prompt_logprobs", "monte_carlo"])
async def test_every_call_of_the_probe_is_granted_by_the_limiter(tmp_path, rung):
    limiters = Counting()
    async with (
        serve(FixedWorld(), routes=ALL_ROUTES, prompt_logprobs="true") as server,
        connected(endpoint_config(server.base_url), tmp_path, rung=rung, limiters=limiters),
    ):
        assert limiters.num_calls == server.num_requests > 0


async def test_a_connection_sends_equal_requests_once_and_counts_both(tmp_path):
    ledger = Ledger()
    async with serve(FixedWorld()) as server:
        config = endpoint_config(server.base_url)
        config.price = PriceConfig(prompt_usd_per_million=1e6, completion_usd_per_million=2e6)
        async with connected(config, tmp_path, ledger=ledger) as connection:
            probed = server.num_requests
            first = await connection.model.send(GENERATE)
            second = await connection.model.send(replace(GENERATE, role=Role.dev))
            assert server.num_requests == probed + 1
    assert (first.paid, second.paid, second.choices) == (True, False, first.choices)
    assert ledger.totals().calls == 2
    assert ledger.cost_usd == first.usage.prompt_tokens + 2 * first.usage.completion_tokens


async def test_answers_of_one_rung_do_not_answer_for_another(tmp_path):
    async with serve(FixedWorld()) as server:
        config = endpoint_config(server.base_url)
        for rung in ("score", "echo", "label"):
            async with connected(config, tmp_path, rung=rung) as connection:
                assert (await connection.model.send(SCORE)).paid
        async with connected(config, tmp_path, rung="echo") as connection:
            assert not (await connection.model.send(SCORE)).paid


async def test_a_server_that_moved_still_finds_its_stored_answers(tmp_path):
    paid = []
    for _ in range(2):
        async with (
            serve(FixedWorld()) as server,
            connected(endpoint_config(server.base_url), tmp_path) as connection,
        ):
            paid.append((await connection.model.send(SCORE)).paid)
    assert paid == [True, False]


async def test_the_simulated_model_needs_no_address(tmp_path):
    config = LLMConfig(provider="simulated", model="simulated")
    async with connected(config, tmp_path) as connection:
        assert connection.route == CHAT_SCORE
        assert (await connection.model.send(replace(GENERATE, messages=QUESTION))).choices[0].text


@pytest.mark.parametrize(
    ("rung", "expected"),
    [("score", CHAT_SCORE), ("label", LABEL), ("monte_carlo", CHAT_SAMPLES)],
)
async def test_the_simulated_model_can_stand_for_a_lower_rung(tmp_path, rung, expected):
    config = LLMConfig(provider="simulated", model="simulated")
    async with connected(config, tmp_path, rung=rung) as connection:
        assert connection.route == expected
        assert (await connection.model.send(GENERATE)).choices[0].text


async def test_the_simulated_model_without_log_probs_scores_nothing(tmp_path):
    config = LLMConfig(provider="simulated", model="simulated")
    async with connected(config, tmp_path, rung="monte_carlo") as connection:
        with pytest.raises(ScoringError, match="gives no log-probs"):
            await connection.model.send(SCORE)


async def test_the_simulated_model_with_labels_alone_scores_single_words(tmp_path):
    config = LLMConfig(provider="simulated", model="simulated")
    async with connected(config, tmp_path, rung="label") as connection:
        scored = await connection.model.send(SCORE)
        assert [choice.text for choice in scored.choices] == list(SCORE.targets)
        with pytest.raises(ScoringError, match="'Osaka Bay' has more than one word"):
            await connection.model.send(replace(SCORE, targets=("Tokyo", "Osaka Bay")))
