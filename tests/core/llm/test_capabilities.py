"""Finding the best way in which an endpoint scores texts, without knowing it beforehand."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

import orjson
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
CHAT_SAMPLES = Route("chat", "monte_carlo")
TEXT_SAMPLES = Route("completions", "monte_carlo")
NO_LOG_PROBS = {"routes": ROUTES - {"score"}, "echo": "null", "next_token": "null"}


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


@pytest.mark.parametrize(
    ("routes", "api", "expected"),
    [
        ({"chat/completions", "completions"}, "auto", CHAT_SAMPLES),
        ({"chat/completions", "completions"}, "completions", TEXT_SAMPLES),
        ({"completions"}, "auto", TEXT_SAMPLES),
        ({"chat/completions"}, "chat", CHAT_SAMPLES),
    ],
)
@pytest.mark.parametrize("rung", ["auto", "monte_carlo"])
async def test_an_endpoint_without_log_probs_is_sampled(tmp_path, routes, api, expected, rung):
    switches = NO_LOG_PROBS | {"routes": frozenset(routes)}
    async with serve(FixedWorld(), **switches) as server:
        config = replace(endpoint_config(server.base_url), api=api)
        async with connected(config, tmp_path, rung=rung) as connection:
            assert connection.route == expected
            assert (await connection.model.send(GENERATE)).choices[0].text == "Tokyo"
            with pytest.raises(ScoringError, match="gives no log-probs"):
                await connection.model.send(SCORE)


async def test_a_route_keeps_what_each_better_one_met(tmp_path):
    async with (
        serve(FixedWorld(), **NO_LOG_PROBS) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        refused = connection.route.refused
    expected = (
        "score over chat: .*there is no route score",
        "score over completions: .*there is no route score",
        "echo over completions: the endpoint echoed no log-probs",
        "label over chat: the endpoint sent no next-token log-probs",
    )
    assert len(refused) == len(expected)
    for sentence, pattern in zip(refused, expected, strict=True):
        assert re.match(pattern, sentence)


async def test_the_best_route_has_nothing_to_tell(tmp_path):
    async with (
        serve(FixedWorld()) as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route.refused == ()


def test_a_route_is_journalled_as_plain_json():
    assert orjson.loads(orjson.dumps(asdict(replace(CHAT_SAMPLES, refused=("echo: none",))))) == {
        "api": "chat",
        "rung": "monte_carlo",
        "refused": ["echo: none"],
    }


@pytest.mark.parametrize("rung", ["score", "echo", "label"])
async def test_a_rung_that_was_asked_for_does_not_fall_to_samples(tmp_path, rung):
    async with serve(FixedWorld(), **NO_LOG_PROBS) as server:
        with pytest.raises(ScoringError, match=rf"rung={rung}.*or scoring\.rung=auto"):
            async with connected(endpoint_config(server.base_url), tmp_path, rung=rung):
                pytest.fail("it was opened")


async def test_an_endpoint_that_writes_nothing_is_refused_with_what_each_route_met(tmp_path):
    async with serve(FixedWorld({"": 1.0}), routes=ROUTES - {"completions"}) as server:
        with pytest.raises(ScoringError) as caught:
            async with connected(endpoint_config(server.base_url), tmp_path):
                pytest.fail("it was opened")
    said = str(caught.value)
    for part in (
        "check llm.base_url and llm.model",
        "score over chat: the greedy continuation was empty",
        "echo over completions: ",
        "monte_carlo over chat: the greedy continuation was empty",
        "monte_carlo over completions: ",
        "there is no route completions",
    ):
        assert part in said


async def test_senseless_log_probs_fall_to_samples(tmp_path):
    async with (
        serve(FixedWorld(), routes=frozenset({"completions"}), echo="zero") as server,
        connected(endpoint_config(server.base_url), tmp_path) as connection,
    ):
        assert connection.route == TEXT_SAMPLES
    assert any("no more probable than" in sentence for sentence in connection.route.refused)


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
    assert candidate_routes(config, "auto") == [
        *(CHAT_SCORE, TEXT_SCORE, ECHO, LABEL),
        *(CHAT_SAMPLES, TEXT_SAMPLES),
    ]


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
