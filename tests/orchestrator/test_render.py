"""What ``action=render`` prints: the requests of a network, as they would be sent."""

from __future__ import annotations

import json

import pytest

from dln_core.building import initial_network
from dln_core.config import LayerConfig, LLMConfig, NetworkConfig, ScoringConfig, TaskConfig
from dln_core.errors import ConfigError
from dln_core.evaluation import evaluate
from dln_core.llm.capabilities import Route
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.simulated import InContextReader
from dln_core.tasks import load_task
from dln_core.types import Role
from orchestrator.planning.plan import make_plan
from orchestrator.render import print_requests, shown_route
from tests.servers import serve

HIDDEN = LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=8)
TWO_LAYERS = NetworkConfig(name="dln2", layers=[HIDDEN, LayerConfig(reads=["input", "thoughts"])])


def endpoint(base_url: str = "http://localhost:8000/v1", **changes) -> LLMConfig:
    values = {"provider": "openai_compatible", "model": "toy", "base_url": base_url}
    return LLMConfig(**(values | changes))


@pytest.fixture
def printed(toy_plan, capsys):
    """Print the requests of a plan's trials and return the text; settings can be replaced."""

    def render(*seeds: int, **changes) -> str:
        configs = []
        for seed in seeds or (13,):
            run = toy_plan(seed).run
            for name, value in changes.items():
                setattr(run, name, value)
            configs.append(run)
        print_requests(make_plan(configs))
        return capsys.readouterr().out

    return render


def posts(text: str) -> list[tuple[str, dict]]:
    """The addresses and bodies that were printed."""
    found = []
    for part in text.split("POST ")[1:]:
        address, _, rest = part.partition("\n")
        found.append((address, json.JSONDecoder().raw_decode(rest)[0]))
    return found


def test_the_simulated_model_has_conversations_alone(printed):
    text = printed(network=TWO_LAYERS)
    assert text.index("[layer thoughts]") < text.index("[layer output]")
    assert "<what thoughts gives>" in text
    assert "these answers? Urgent | Normal" in text
    assert "POST" not in text


def test_every_layer_has_its_request_with_address_and_parameters(printed):
    text = printed(network=TWO_LAYERS, llm=endpoint(extra={"top_k": 5}, omit=["seed"]))
    (hidden, asked), (answer, scored) = posts(text)
    assert hidden == answer == "http://localhost:8000/v1/chat/completions"
    assert (asked["model"], asked["max_tokens"], asked["top_k"]) == ("toy", 8, 5)
    assert "seed" not in asked
    assert asked["messages"][0]["content"].startswith("Think.")
    assert scored["top_logprobs"] > 1
    assert "<what thoughts gives>" in scored["messages"][-1]["content"]


def test_what_the_probe_decides_is_said(printed):
    assert "decides llm.api and scoring.rung" in printed(llm=endpoint())
    assert "decides scoring.rung" in printed(llm=endpoint(api="chat"))
    chosen = {"llm": endpoint(api="chat"), "scoring": ScoringConfig(rung="label")}
    assert "probe" not in printed(**chosen)


def test_trials_that_send_the_same_are_shown_once(printed):
    assert len(posts(printed(13, 42, llm=endpoint()))) == 1


@pytest.mark.parametrize(
    ("rung", "paths"),
    [
        ("score", ["v1/score"]),
        ("echo", ["v1/completions"]),
        ("prompt_logprobs", ["tokenize", "v1/chat/completions", "v1/chat/completions"]),
        ("label", ["v1/chat/completions"]),
        ("monte_carlo", ["v1/chat/completions"]),
    ],
)
def test_an_answer_with_labels_is_scored_as_the_rung_does(printed, rung, paths):
    text = printed(llm=endpoint(), scoring=ScoringConfig(rung=rung))
    assert [address.partition("8000/")[2] for address, _ in posts(text)] == paths
    assert ("these answers? Urgent | Normal" in text) == (rung != "monte_carlo")


def test_free_answers_are_written(printed):
    text = printed(llm=endpoint(api="completions"), task=TaskConfig(name="stock_count"))
    [(address, body)] = posts(text)
    assert address.endswith("/v1/completions")
    assert (body["seed"], body["temperature"]) == (0, 0.0)
    assert "scores" not in text


def test_the_local_models_port_is_left_open(printed):
    [(address, _)] = posts(printed(llm=LLMConfig()))
    assert address == "http://127.0.0.1:PORT/v1/score"


def test_no_key_is_printed(printed, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "sk-very-secret" not in printed(llm=endpoint())


def test_settings_that_exclude_each_other_are_told(printed):
    with pytest.raises(ConfigError, match=r"llm\.api=chat and scoring\.rung=echo exclude"):
        printed(llm=endpoint(api="chat"), scoring=ScoringConfig(rung="echo"))


@pytest.mark.parametrize("task", ["triage", "stock_count"])
async def test_what_is_printed_is_what_arrives(printed, toy_plan, task):
    async with serve(InContextReader()) as server:
        changes = {"llm": endpoint(server.base_url), "task": TaskConfig(name=task)}
        shown = posts(printed(**changes))
        run = toy_plan().run
        for name, value in changes.items():
            setattr(run, name, value)
        settings = make_plan([run]).trials[0].settings
        loaded = load_task(settings.task, settings.data)
        async with open_session(settings.llm) as session:
            model = Endpoint(settings.llm, session, shown_route(settings))
            network = initial_network(settings, loaded)
            await evaluate(network, model, loaded, loaded.splits.dev[:1], role=Role.dev)
        [seen] = server.seen
    assert shown == [(f"{server.base_url}/{seen.path}", seen.body)]
    assert shown_route(settings) == Route("chat", "label")
