"""Finding the best way in which an endpoint scores texts, without knowing it beforehand."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.config import CacheConfig, LimitsConfig, LLMConfig, PriceConfig
from dln_core.errors import AuthenticationError, ConfigError, LLMError, ScoringError
from dln_core.llm.capabilities import Route, candidate_routes
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.types import Role
from tests.core.llm.toys import CITIES, GENERATE, QUESTION, SCORE, FixedWorld, endpoint_config
from tests.faults import RESET, failed
from tests.servers import ROUTES, serve

CHAT_SCORE = Route("chat", "score")
TEXT_SCORE = Route("completions", "score")
ECHO = Route("completions", "echo")
LABEL = Route("chat", "label")


@asynccontextmanager
async def connected(
    config: LLMConfig, folder: Path, *, rung: str = "auto", ledger: Ledger | None = None
) -> AsyncIterator[Connection]:
    async with (
        open_stores(CacheConfig(mode="off", dir=str(folder)), "sweep") as stores,
        connect(
            config,
            rung=rung,
            limits=LimitsConfig(),
            share=1,
            stores=stores,
            ledgers=[ledger] if ledger else [],
        ) as connection,
    ):
        yield connection


@pytest.mark.parametrize(
    ("routes", "switches", "expected"),
    [
        ({"chat/completions", "score"}, {"next_token": "null"}, CHAT_SCORE),
        ({"completions", "score"}, {"echo": "null"}, TEXT_SCORE),
        ({"completions"}, {}, ECHO),
        ({"chat/completions"}, {}, LABEL),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "by name"])
async def test_a_rung_is_found_where_it_is_the_only_one(
    tmp_path, routes, switches, expected, asked
):
    async with serve(FixedWorld(), routes=frozenset(routes), **switches) as server:
        rung = "auto" if asked == "auto" else expected.rung
        async with connected(endpoint_config(server.base_url), tmp_path, rung=rung) as connection:
            assert connection.route == expected
            response = await connection.model.send(SCORE)
    assert [choice.text for choice in response.choices] == list(SCORE.targets)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (set(), CHAT_SCORE),
        ({"score"}, ECHO),
        ({"score", "completions"}, LABEL),
        ({"chat/completions"}, TEXT_SCORE),
    ],
)
async def test_of_several_rungs_the_best_is_taken(tmp_path, missing, expected):
    async with (
        serve(FixedWorld(), routes=ROUTES - missing) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route == expected


@pytest.mark.parametrize("echo", ["null", "zero", "ignored"])
async def test_an_echo_without_real_log_probs_falls_to_the_next_rung(tmp_path, echo):
    async with (
        serve(FixedWorld(), routes=ROUTES - {"score"}, echo=echo) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route == LABEL


async def test_a_route_that_is_not_implemented_falls_to_the_next(tmp_path):
    async with (
        serve(FixedWorld(), faults=[failed(501)]) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route == TEXT_SCORE


async def test_a_passing_fault_during_the_probe_does_not_lower_the_rung(tmp_path):
    async with (
        serve(FixedWorld(), faults=[failed(503), RESET]) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route == CHAT_SCORE


async def test_an_endpoint_without_any_rung_is_refused_with_what_each_one_met(tmp_path):
    async with serve(
        FixedWorld(), routes=ROUTES - {"score"}, echo="null", next_token="null"
    ) as server:
        with pytest.raises(ScoringError) as caught:
            async with connected(endpoint_config(server.base_url), tmp_path):
                pytest.fail("it was opened")
    said = str(caught.value)
    for part in (
        "score over chat: ",
        "there is no route score",
        "score over completions: ",
        "echo over completions: the endpoint echoed no log-probs",
        "label over chat: the endpoint sent no next-token log-probs",
    ):
        assert part in said


async def test_an_echo_of_zeros_alone_says_that_it_cannot_tell_texts_apart(tmp_path):
    async with serve(FixedWorld(), routes=frozenset({"completions"}), echo="zero") as server:
        with pytest.raises(ScoringError, match="no more probable than"):
            async with connected(endpoint_config(server.base_url), tmp_path, rung="echo"):
                pytest.fail("it was opened")


async def test_a_dead_address_is_an_error_that_names_it(tmp_path):
    async with serve(FixedWorld()) as server:
        gone = server.base_url
    with pytest.raises(LLMError, match=gone) as caught:
        async with connected(endpoint_config(gone), tmp_path):
            pytest.fail("it was opened")
    assert not isinstance(caught.value, ScoringError)


async def test_a_wrong_key_ends_the_probe_at_its_first_request(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-one")
    async with serve(FixedWorld(), required_key="right") as server:
        with pytest.raises(AuthenticationError, match="OPENAI_API_KEY") as caught:
            async with connected(endpoint_config(server.base_url), tmp_path):
                pytest.fail("it was opened")
    assert server.num_requests == 1
    assert "sk-wrong-one" not in str(caught.value)


def test_settings_that_exclude_each_other_leave_no_route():
    config = endpoint_config("http://127.0.0.1:9/v1")
    assert candidate_routes(replace(config, api="completions"), "label") == []
    assert candidate_routes(replace(config, api="chat"), "echo") == []
    assert candidate_routes(config, "auto") == [CHAT_SCORE, TEXT_SCORE, ECHO, LABEL]


async def test_settings_that_exclude_each_other_are_named_without_any_request(tmp_path):
    async with serve(FixedWorld()) as server:
        config = replace(endpoint_config(server.base_url), api="completions")
        with pytest.raises(ScoringError, match=r"rung=label, llm\.api=completions.*exclude"):
            async with connected(config, tmp_path, rung="label"):
                pytest.fail("it was opened")
    assert server.num_requests == 0


async def test_an_address_that_is_missing_is_a_wrong_setting_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="serve toy"):
        async with connected(LLMConfig(provider="local", model="toy"), tmp_path):
            pytest.fail("it was opened")


@pytest.mark.parametrize("rung", ["score", "echo"])
async def test_rungs_that_score_whole_texts_agree_with_the_world(tmp_path, rung):
    request = replace(SCORE, targets=tuple(CITIES))
    async with (
        serve(FixedWorld()) as server,
        connected(endpoint_config(server.base_url), tmp_path, rung=rung) as connection,
    ):
        response = await connection.model.send(request)
    probabilities = [math.exp(choice.logprob) for choice in response.choices]
    assert probabilities == pytest.approx(list(CITIES.values()))


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
