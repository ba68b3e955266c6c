"""Exported networks: read back, as conversations, as chat requests, and on the command line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dln_core.building import build_network
from dln_core.config import LLMConfig, NetworkConfig
from dln_core.config.reading import config_from
from dln_core.errors import ConfigError, ExportError
from dln_core.export import (
    chat_requests,
    load_network,
    messages_template,
    network_document,
)
from dln_core.export.__main__ import main
from dln_core.export.checking import read_back
from dln_core.export.document import document_text
from dln_core.graph import Slot
from dln_core.llm.base import GenerateRequest
from dln_core.llm.capabilities import Route
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.simulated import InContextReader, SimulatedModel
from dln_core.outcome import Evaluation, Trained
from dln_core.types import Demonstration, Prompt, Role
from tests.servers import serve
from tests.worlds import parity_task

TASK = parity_task()
EXAMPLE = replace(TASK.splits.dev[0], labels=())
NETWORKS = Path(__file__).parents[2] / "conf" / "network"
FIXED = sorted(path.stem for path in NETWORKS.glob("*.yaml") if path.stem != "kate")


def built(name):
    config = config_from(NetworkConfig, yaml.safe_load((NETWORKS / f"{name}.yaml").read_text()))
    return build_network(config, TASK, TASK.splits.train[: config.num_shots])


def learned(instruction, *demonstrations):
    shown = tuple(Demonstration(*pair) for pair in demonstrations)
    return built("dln1").with_prompt(Slot(0, 0), Prompt(instruction, shown))


class Recorder:
    """Answers by the simulated model and keeps what it was asked."""

    def __init__(self):
        self.inner = SimulatedModel(InContextReader())
        self.seen = []

    async def send(self, request):
        self.seen.append(request)
        return await self.inner.send(request)


def conversations(template, texts):
    """What a user of the template sends, all placeholders of a conversation filled in at once."""
    values = {template["input"]: EXAMPLE.input}
    values |= {entry["placeholder"]: texts[entry["text"]] for entry in template["layers"]}
    pattern = "|".join(map(re.escape, values))
    return [
        [
            (turn["role"], re.sub(pattern, lambda match: values[match[0]], turn["content"]))
            for turn in entry["messages"]
        ]
        for entry in template["layers"]
        if "messages" in entry
    ]


@pytest.mark.parametrize("name", FIXED)
async def test_a_template_that_is_filled_in_asks_what_the_network_asks(name):
    network, model = built(name), Recorder()
    trace = await network.run(model, EXAMPLE, role=Role.forward)
    template = json.loads(json.dumps(messages_template(network, "m")))
    texts = dict(zip([entry["text"] for entry in template["layers"]], trace.texts, strict=True))
    # Where answers vote by probability, what was written is scored as well.
    written = [request for request in model.seen if isinstance(request, GenerateRequest)]
    asked = [[(turn.role, turn.text) for turn in request.messages] for request in written]
    assert sorted(conversations(template, texts)) == sorted(asked)
    sampling = [entry["sampling"] for entry in template["layers"] if "sampling" in entry]
    for request in written:
        asked_for = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        assert asked_for | {"seed": request.seed} in sampling


def test_learned_texts_that_look_like_placeholders_are_told_from_them():
    template = messages_template(learned("Fill in {input}, not {{input}}.", ("{output}", "x")), "m")
    assert template["input"] == "{{{input}}}"
    content = template["layers"][0]["messages"][0]["content"]
    assert "Fill in {input}, not {{input}}." in content
    filled = messages_template(built("dln2"), "m", input_text="What is {thoughts}?")
    assert filled["input"] is None
    assert filled["layers"][0]["placeholder"] == "{{thoughts}}"
    assert "What is {thoughts}?" in filled["layers"][1]["messages"][0]["content"]


def test_copies_are_numbered_and_joins_name_what_they_join():
    template = messages_template(built("self_consistency"), "m")
    names = [entry["text"] for entry in template["layers"]]
    assert names[0].endswith("_1")
    assert template["answer"]["join"] == "majority"
    assert set(template["answer"]["texts"]) <= set(names)
    assert len({entry["sampling"]["seed"] for entry in template["layers"]}) > 1
    tools = [
        entry for entry in messages_template(built("react"), "m")["layers"] if "tools" in entry
    ]
    assert [entry["reads"] for entry in tools] == [["thought"], ["thought_2"]]


def test_examples_chosen_by_nearness_need_the_input():
    config = config_from(NetworkConfig, yaml.safe_load((NETWORKS / "kate.yaml").read_text()))
    network = build_network(config, TASK, TASK.splits.train)
    with pytest.raises(ConfigError, match="nearest to what it reads"):
        messages_template(network, "m")
    template = messages_template(network, "m", input_text=EXAMPLE.input)
    request = network.requests(EXAMPLE, role=Role.forward)[0][1]
    turns = [(turn["role"], turn["content"]) for turn in template["layers"][0]["messages"]]
    assert turns == [(turn.role, turn.text) for turn in request.messages]


async def test_a_chat_request_is_what_goes_over_the_line():
    network = learned("Say é.", ("Item: 3", "Odd"))
    (request,) = chat_requests(messages_template(network, "simulated", EXAMPLE.input))
    async with serve(InContextReader()) as server:
        config = LLMConfig(
            provider="openai_compatible", model="simulated", base_url=server.base_url
        )
        async with open_session(config) as session:
            endpoint = Endpoint(config, session, Route("chat", "monte_carlo"))
            await network.run(endpoint, EXAMPLE, role=Role.forward)
        assert [seen.body for seen in server.seen] == [request["body"]]


def test_what_is_read_back_asks_the_same():
    for name in FIXED:
        network = built(name)
        assert read_back(network, "m", TASK.splits.dev[:3]) == network
    biased = replace(built("dln1"), label_bias={"Odd": -0.1, "Even": -1 / 3})
    assert read_back(biased, "m", TASK.splits.dev[:3]) == biased


def test_a_network_that_no_file_can_hold_fails_loudly():
    with pytest.raises(ExportError, match="dln1 cannot be exported"):
        read_back(learned("Half a sign: \ud83d"), "m", TASK.splits.dev[:1])


def test_a_saved_network_is_read_back_at_once(tmp_path):
    test = Evaluation(accuracy=1.0, low=0.5, high=1.0, num_correct=1, num_items=1, predictions=[])
    good = Trained(
        network=learned("Say it: é."),
        model="m",
        dev_accuracy=1.0,
        test=test,
        usage={},
        cost_usd=None,
        events=[],
    )
    good.save(tmp_path / "network.json")
    assert load_network(tmp_path / "network.json") == good.network
    with pytest.raises(ExportError, match="holds another network"):
        replace(good, network=learned("Half: \ud83d")).save(tmp_path / "network.json")


@pytest.fixture
def exported(tmp_path):
    """Write a network to a file, some of it replaced."""

    def write(network, **parts):
        path = tmp_path / "network.json"
        path.write_text(document_text(network_document(network, "m") | parts))
        return str(path)

    return write


def test_the_command_line_writes_each_form(exported, tmp_path, capsys):
    path = exported(built("dln2"))
    assert main(["messages", path]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "dln-messages"
    assert main(["openai", path, "--input", "7", "--layer", "thoughts"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["model"], body["messages"][-1]["role"]) == ("m", "user")
    assert main(["openai", path, "-o", str(tmp_path / "requests.json")]) == 0
    written = json.loads((tmp_path / "requests.json").read_text())
    assert [request["layer"] for request in written] == ["thoughts", "output"]
    assert capsys.readouterr().out == ""


def test_a_calibrated_network_is_written_with_a_word_of_warning(exported, capsys):
    path = exported(replace(built("dln1"), label_bias={"Odd": -0.1, "Even": -2.0}))
    assert main(["messages", path]) == 0
    assert "calibrated on the labels Odd, Even" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"version": 1}, "format version 1, this program reads 2"),
        ({"layers": []}, "lacks a part of a network"),
        ({"layers": "none"}, "lacks a part of a network"),
        ({"layers": [{"name": "output"}]}, "lacks a part of a network"),
        ({"format": "other"}, "is not an exported network"),
    ],
)
def test_what_is_no_network_ends_in_one_sentence(exported, capsys, parts, message):
    assert main(["messages", exported(built("dln1"), **parts)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_wrong_arguments_end_in_one_sentence(exported, tmp_path, capsys):
    path = exported(built("dln2"))
    for arguments, message in (
        (["messages", str(tmp_path / "none")], "no network can be read from"),
        (["messages", path, "-o", str(tmp_path / "none" / "x")], "cannot be written"),
        (["openai", path, "--layer", "nope"], "choose one of: thoughts, output"),
        (["verify", str(tmp_path / "none")], "none does not exist"),
        (["verify", path], "lies outside of its trial's folder"),
        (["verify", str(tmp_path)], "config.yaml cannot be read"),
        (["verify", path, "--task", "triage"], "--base-url http"),
        (["verify", path, "--task", "triag", "--provider", "simulated"], "did you mean triage"),
    ):
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err


def test_a_lone_network_is_measured_and_compared(exported, tmp_path, capsys):
    path = exported(built("dln1"))
    simulated = [path, "--task", "triage", "--provider", "simulated", "--cache-dir", str(tmp_path)]
    assert main(["verify", *simulated]) == 0
    accuracy = float(re.search(r"gets ([\d.]+) on the 100", capsys.readouterr().out)[1]) / 100
    assert main(["verify", *simulated, "--dev-accuracy", str(accuracy)]) == 0
    assert main(["verify", *simulated, "--dev-accuracy", "0.99"]) == 1
    assert "not 99.00" in capsys.readouterr().err
