"""Finding the best way in which an endpoint scores texts, without knowing it beforehand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import orjson
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import (
    AuthenticationError,
    ParameterError,
    RequestError,
    ScoringError,
    UnreachableError,
)
from dln_core.llm.base import (
    Choice,
    GenerateRequest,
    LanguageModel,
    RequestList,
    Response,
    ScoreRequest,
    Sendable,
)
from dln_core.llm.capabilities import Route, candidate_routes, probe, unscored_route
from dln_core.llm.http import Endpoint, open_session
from dln_core.types import Usage
from tests.core.llm.toys import FixedWorld, endpoint_config
from tests.faults import failed
from tests.servers import ALL_ROUTES, ROUTES, OpenAIServer, serve

CHAT_SCORE = Route("chat", "score")
TEXT_SCORE = Route("completions", "score")
ECHO = Route("completions", "echo")
PROMPT_LOGPROBS = Route("chat", "prompt_logprobs")
LABEL = Route("chat", "label")
CHAT_SAMPLES = Route("chat", "monte_carlo")
TEXT_SAMPLES = Route("completions", "monte_carlo")
NO_LOG_PROBS: dict[str, Any] = {"routes": ROUTES - {"score"}, "echo": "null", "next_token": "null"}
TOKYO = math.log(0.7)


async def found(
    server: OpenAIServer, rung: str = "auto", max_attempts: int = 10, **settings: Any
) -> Route:
    """Probe a server by its address alone."""
    config = replace(endpoint_config(server.base_url), **settings)
    async with open_session(config) as session:
        return await probe(
            lambda route: Endpoint(config, session, route), config, rung, max_attempts
        )


@pytest.mark.parametrize(
    ("routes", "switches", "expected"),
    [
        ({"chat/completions", "score"}, {"next_token": "null"}, CHAT_SCORE),
        ({"completions", "score"}, {"echo": "null"}, TEXT_SCORE),
        ({"completions"}, {}, ECHO),
        ({"chat/completions", "tokenize"}, {"prompt_logprobs": "true"}, PROMPT_LOGPROBS),
        ({"chat/completions"}, {}, LABEL),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "by name"])
async def test_a_rung_is_found_where_it_is_the_only_one(routes, switches, expected, asked):
    rung = "auto" if asked == "auto" else expected.rung
    async with serve(FixedWorld(), routes=frozenset(routes), **switches) as server:
        assert await found(server, rung) == expected


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (set(), CHAT_SCORE),
        ({"score"}, ECHO),
        ({"score", "completions"}, PROMPT_LOGPROBS),
        ({"score", "completions", "tokenize"}, LABEL),
        ({"chat/completions"}, TEXT_SCORE),
    ],
)
async def test_of_several_rungs_the_best_is_taken(missing, expected):
    async with serve(FixedWorld(), routes=ALL_ROUTES - missing, prompt_logprobs="true") as server:
        assert await found(server) == expected


@pytest.mark.parametrize("echo", ["null", "zero", "constant", "nonsense", "ignored"])
async def test_an_echo_without_real_log_probs_falls_to_the_next_rung(echo):
    async with serve(FixedWorld(), routes=ROUTES - {"score"}, echo=echo) as server:
        assert await found(server) == LABEL


async def test_a_server_that_ignores_what_it_is_asked_of_prompts_falls_to_the_next_rung():
    async with serve(FixedWorld(), routes=frozenset({"chat/completions", "tokenize"})) as server:
        route = await found(server)
    assert route == LABEL
    assert any("sent no prompt_logprobs" in sentence for sentence in route.refused)


async def test_a_route_that_is_not_implemented_falls_to_the_next():
    async with serve(FixedWorld(), faults=[failed(501)]) as server:
        assert await found(server) == TEXT_SCORE


@pytest.mark.parametrize(
    ("routes", "api", "expected"),
    [
        ({"chat/completions", "completions"}, "auto", CHAT_SAMPLES),
        ({"chat/completions", "completions"}, "completions", TEXT_SAMPLES),
        ({"completions"}, "auto", TEXT_SAMPLES),
        ({"chat/completions"}, "chat", CHAT_SAMPLES),
        ({"responses"}, "responses", Route("responses", "monte_carlo")),
        ({"messages"}, "messages", Route("messages", "monte_carlo")),
    ],
)
@pytest.mark.parametrize("rung", ["auto", "monte_carlo"])
async def test_an_endpoint_without_log_probs_is_sampled(routes, api, expected, rung):
    switches = NO_LOG_PROBS | {"routes": frozenset(routes)}
    provider = "anthropic" if api == "messages" else "openai_compatible"
    async with serve(FixedWorld(), **switches) as server:
        assert await found(server, rung, api=api, provider=provider) == expected


async def test_anthropic_is_spoken_to_in_its_own_words():
    async with serve(FixedWorld(), routes=ALL_ROUTES) as server:
        route = await found(server, provider="anthropic")
        assert route == Route("messages", "monte_carlo")
        assert set(server.num_by_path) == {"messages"}


async def test_a_route_keeps_what_each_better_one_met():
    async with serve(FixedWorld(), **NO_LOG_PROBS) as server:
        refused = (await found(server)).refused
    expected = (
        "score over chat: .*there is no route score",
        "score over completions: .*there is no route score",
        "echo over completions: the endpoint echoed no log-probs",
        "prompt_logprobs over chat: .*there is no route tokenize",
        "label over chat: the endpoint sent no next-token log-probs",
    )
    assert len(refused) == len(expected)
    for sentence, pattern in zip(refused, expected, strict=True):
        assert re.match(pattern, sentence)


async def test_the_best_route_has_nothing_to_tell():
    async with serve(FixedWorld()) as server:
        assert (await found(server)).refused == ()


def test_a_route_is_journalled_as_plain_json():
    assert orjson.loads(orjson.dumps(asdict(replace(CHAT_SAMPLES, refused=("echo: none",))))) == {
        "api": "chat",
        "rung": "monte_carlo",
        "refused": ["echo: none"],
    }


@pytest.mark.parametrize("rung", ["score", "echo", "prompt_logprobs", "label"])
async def test_a_rung_that_was_asked_for_does_not_fall_to_samples(rung):
    async with serve(FixedWorld(), **NO_LOG_PROBS) as server:
        with pytest.raises(ScoringError, match=rf"rung={rung}.*or scoring\.rung=auto"):
            await found(server, rung)


async def test_an_endpoint_that_writes_nothing_is_refused_with_what_each_route_met():
    async with serve(FixedWorld({"": 1.0}), routes=ROUTES - {"completions"}) as server:
        with pytest.raises(ScoringError) as caught:
            await found(server)
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


async def test_senseless_log_probs_fall_to_samples():
    async with serve(FixedWorld(), routes=frozenset({"completions"}), echo="zero") as server:
        route = await found(server)
    assert route == TEXT_SAMPLES
    assert any("no more probable than" in sentence for sentence in route.refused)


async def test_a_dead_address_is_an_error_that_names_it():
    async with serve(FixedWorld()) as server:
        pass
    with pytest.raises(UnreachableError, match=server.base_url):
        await found(server)


async def test_a_wrong_key_ends_the_probe_at_its_first_request(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-one")
    async with serve(FixedWorld(), required_key="right") as server:
        with pytest.raises(AuthenticationError, match="OPENAI_API_KEY") as caught:
            await found(server)
    assert server.num_requests == 1
    assert "sk-wrong-one" not in str(caught.value)


async def test_a_parameter_that_no_route_takes_is_named_with_its_remedy():
    refusal = failed(400, "'temperature' does not support 0 with this model, it is unsupported")
    async with serve(FixedWorld(), faults=[refusal]) as server:
        with pytest.raises(ParameterError, match=r"llm\.omit=\[temperature\]"):
            await found(server, api="chat")


def test_settings_that_exclude_each_other_leave_no_route():
    config = endpoint_config("http://127.0.0.1:9/v1")
    assert candidate_routes(replace(config, api="completions"), "label") == []
    assert candidate_routes(replace(config, api="chat"), "echo") == []
    assert candidate_routes(replace(config, api="responses"), "label") == []
    assert [(route.api, route.rung) for route in candidate_routes(config, "auto")] == [
        ("chat", "score"),
        ("completions", "score"),
        ("completions", "echo"),
        ("chat", "prompt_logprobs"),
        ("chat", "label"),
        ("chat", "monte_carlo"),
        ("completions", "monte_carlo"),
    ]


async def test_where_log_probs_are_left_out_none_are_asked_for():
    async with serve(FixedWorld(), routes=ROUTES - {"score"}) as server:
        assert await found(server, omit=["logprobs"]) == CHAT_SAMPLES
        assert not any("logprobs" in seen.body for seen in server.seen)


async def test_settings_that_exclude_each_other_are_named_without_any_request():
    async with serve(FixedWorld()) as server:
        with pytest.raises(ScoringError, match=r"rung=label, llm\.api=completions.*exclude"):
            await found(server, "label", api="completions")
    assert server.num_requests == 0


@pytest.mark.parametrize(
    ("provider", "api", "expected"),
    [
        ("openai_compatible", "auto", "chat"),
        ("openai_compatible", "completions", "completions"),
        ("anthropic", "auto", "messages"),
    ],
)
def test_a_model_that_only_writes_takes_the_first_api_of_its_provider(provider, api, expected):
    config = LLMConfig(provider=provider, base_url="http://127.0.0.1:9/v1", api=api)
    assert unscored_route(config) == Route(expected, None)


Rule = Callable[[str, int], tuple[float, ...]]


class Scripted:
    """A model that writes Tokyo with the log-prob that it has, and scores by a rule.

    Args:
        rule: Log-probs of a target, by its text and its place among the targets.
        told: Log-probs that are told of what it writes.
        silent_below: With fewer tokens than these, all go into thinking.
    """

    def __init__(
        self, rule: Rule, *, told: tuple[float, ...] | None = (TOKYO,), silent_below: int = 0
    ) -> None:
        self._rule = rule
        self._told = told
        self._silent_below = silent_below

    async def send(self, request: Sendable) -> Response:
        if isinstance(request, RequestList):
            raise RequestError("no lists")
        if isinstance(request, ScoreRequest):
            places = enumerate(request.targets)
            choices = tuple(Choice(target, self._rule(target, i)) for i, target in places)
            return Response(choices, Usage())
        if request.max_tokens < self._silent_below:
            return Response((Choice("", None, "length"),), Usage())
        return Response((Choice("Tokyo", self._told if request.logprobs else None),), Usage())


async def route_of(model: LanguageModel) -> Route:
    return await probe(lambda _: model, LLMConfig(model="scripted", provider="simulated"))


def true_scores(target: str, place: int) -> tuple[float, ...]:
    return (TOKYO,) if target == "Tokyo" else (-9.0, -9.0)


async def test_a_rung_that_agrees_with_what_is_told_of_the_text_is_taken():
    assert await route_of(Scripted(true_scores)) == CHAT_SCORE
    off_by_rounding = Scripted(lambda target, _: (true_scores(target, 0)[0] - 0.3,))
    assert await route_of(off_by_rounding) == CHAT_SCORE


@pytest.mark.parametrize(
    "rule",
    [
        lambda target, place: (0.0,),
        lambda target, place: (-1.0,),
        lambda target, place: (-0.5,) if place else (-0.4 * 3,),
        lambda target, place: true_scores("Tokyo" if place else target[::-1], place),
        # Senseless texts are scored as such, but ours is another one.
        lambda target, place: (-9.0,) if place else (-4.0,),
        lambda target, place: (-9.0,) if place else (0.0,),
        lambda target, place: (-9.0,) if place else (TOKYO, -0.6),
    ],
    ids=["zeros", "constants", "swapped", "reversed", "of another text", "certain", "too long"],
)
async def test_log_probs_of_another_text_are_refused(rule):
    route = await route_of(Scripted(rule))
    assert route.rung not in ("score", "echo", "prompt_logprobs")


@pytest.mark.parametrize("told", [None, (0.0,)])
async def test_where_nothing_is_told_of_the_text_the_order_of_two_texts_decides(told):
    other = Scripted(lambda target, place: (-9.0,) if place else (-4.0,), told=told)
    assert await route_of(other) == CHAT_SCORE


async def test_a_model_that_thinks_first_is_given_the_tokens_to_answer():
    assert await route_of(Scripted(true_scores, silent_below=100)) == CHAT_SCORE


async def test_an_endpoint_that_refuses_log_probs_may_still_score_texts():
    class Refusing(Scripted):
        async def send(self, request: Sendable) -> Response:
            if isinstance(request, GenerateRequest) and request.logprobs:
                raise ParameterError("logprobs are not supported")
            return await super().send(request)

    assert await route_of(Refusing(true_scores)) == CHAT_SCORE
