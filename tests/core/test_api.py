"""What a notebook calls: train, evaluate, predict and load, without Ray or Hydra."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import dln_core
from dln_core.config import CacheConfig, DataConfig, LLMConfig, ScoringConfig, TaskConfig
from dln_core.errors import ConfigError, ScoringError
from dln_core.llm.simulated import InContextReader, SimulatedModel, WithoutScores
from dln_core.tasks import load_task
from dln_core.trial import Services
from tests.servers import serve

CONF = Path(__file__).parents[2] / "conf"
SIMULATED = LLMConfig(provider="simulated", model="simulated")
DATA = DataConfig(max_dev=20, max_test=30)
FEW_STEPS = {"num_iterations": 2, "batch_size": 6, "num_prompts": 4, "num_hidden": 2}
PAIRS = {
    split: [
        (f"{split} {word} {number}", label)
        for number in range(count)
        for word, label in (("broken pump", "Urgent"), ("nice weather", "Calm"))
    ]
    for split, count in (("train", 12), ("dev", 5), ("test", 8))
}


@pytest.fixture
def services(tmp_path):
    return Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))


async def trained_on(task, services, llm=SIMULATED, **changes):
    values = {"trainer": FEW_STEPS, "data": DATA} | changes
    return await dln_core.train(task=task, llm=llm, services=services, **values)


def own_task(**changes):
    values = {"labels": ("Urgent", "Calm"), "name": "pumps"}
    return dln_core.make_task("Say Urgent or Calm.", PAIRS, **(values | changes))


class OwnModel:
    """A language model that a user would write: it answers by another one and counts."""

    def __init__(self, inner):
        self.inner = inner
        self.num_requests = 0

    async def send(self, request):
        self.num_requests += 1
        return await self.inner.send(request)


async def test_what_was_trained_is_saved_loaded_and_found_to_be_as_good_as_was_said(
    services, tmp_path
):
    trained = await trained_on("triage", services)
    trained.save(tmp_path / "network.json")
    network = dln_core.load_network(tmp_path / "network.json")
    assert network == trained.network
    again = await dln_core.evaluate(network, "triage", llm=SIMULATED, data=DATA, services=services)
    assert again == trained.test
    assert again.num_items == 30
    assert again.low < again.accuracy < again.high
    assert trained.dev_accuracy == trained.events[-1]["best"]["dev_accuracy"]


async def test_predictions_are_those_of_the_test(services):
    trained = await trained_on("triage", services)
    test = load_task(TaskConfig(name="triage"), DATA).splits.test
    answers = await dln_core.predict(
        trained.network,
        [example.input for example in test],
        llm=SIMULATED,
        labels=test[0].labels,
        services=services,
    )
    assert answers == [row["prediction"] for row in trained.test.predictions]
    assert len(set(answers)) == 2


async def test_a_saved_network_is_the_export_of_a_sweep(services, tmp_path):
    trained = await trained_on("triage", services)
    trained.save(tmp_path / "network.json")
    document = json.loads((tmp_path / "network.json").read_text())
    assert document == trained.events[-1]["best_network"]
    assert document["model"] == "simulated"


async def test_every_unit_of_work_is_told_as_it_happens(services):
    told = []
    trained = await trained_on("triage", services, on_event=told.append)
    assert [event["kind"] for event in told] == ["start", "step", "step", "finish"]
    assert told == trained.events
    calls = sum(counts["calls"] for event in told for counts in event["usage"].values())
    assert sum(counts["calls"] for counts in trained.usage.values()) == calls
    assert trained.usage["test"]["calls"] == 30


async def test_a_cell_that_is_run_again_pays_for_nothing(services):
    first = await trained_on("triage", services)
    second = await trained_on("triage", services)
    assert sum(counts["paid_calls"] for counts in first.usage.values()) > 0
    assert sum(counts["paid_calls"] for counts in second.usage.values()) == 0
    assert second.network == first.network


async def test_the_files_of_the_command_line_describe_networks_and_trainers_here_too(services):
    network = yaml.safe_load((CONF / "network" / "dln2.yaml").read_text())
    trainer = yaml.safe_load((CONF / "trainer" / "fast.yaml").read_text()) | FEW_STEPS
    trained = await trained_on("triage", services, network=network, trainer=trainer)
    assert [layer.name for layer in trained.network.layers] == ["thoughts", "output"]
    assert all(len(row["hidden"]) == 1 for row in trained.test.predictions)


async def test_a_task_of_the_users_own_is_trained_on(services):
    task = own_task()
    trained = await trained_on(task, services)
    assert trained.test.num_items == 16
    assert {row["prediction"] for row in trained.test.predictions} <= {"Urgent", "Calm"}
    for split, expected in (("test", 16), ("dev", 10), ("train", 24)):
        measured = await dln_core.evaluate(
            trained.network, task, llm=SIMULATED, split=split, services=services
        )
        assert measured.num_items == expected
        if split == "dev":
            assert measured.accuracy == trained.dev_accuracy


async def test_a_model_of_the_users_own_answers_like_the_one_that_is_named(services):
    own = OwnModel(SimulatedModel(InContextReader()))
    trained = await trained_on("triage", services, llm=own)
    named = await trained_on("triage", services)
    assert trained.network == named.network
    assert trained.test == named.test
    assert trained.model == trained.events[0]["network"]["model"] == "OwnModel"
    assert trained.cost_usd is None
    assert own.num_requests > 30


async def test_a_model_that_only_writes_is_found_out_and_trained_by_sampling(services):
    writer = OwnModel(WithoutScores(SimulatedModel(InContextReader()), "monte_carlo"))
    task = own_task()
    trained = await trained_on(task, services, llm=writer)
    assert trained.events[0]["rung"] == "monte_carlo"
    again = await dln_core.evaluate(trained.network, task, llm=writer, services=services)
    assert again == trained.test
    inputs = [text for text, _ in PAIRS["test"]]
    answers = await dln_core.predict(
        trained.network, inputs, llm=writer, labels=task.labels, services=services
    )
    assert answers == [row["prediction"] for row in trained.test.predictions]


async def test_a_model_that_cannot_do_what_is_asked_is_refused_before_training(services):
    writer = OwnModel(WithoutScores(SimulatedModel(InContextReader()), "monte_carlo"))
    with pytest.raises(ScoringError, match="OwnModel cannot score texts"):
        await trained_on("triage", services, llm=writer, scoring=ScoringConfig(rung="score"))


async def test_another_model_may_write_the_proposals(services):
    writer = OwnModel(WithoutScores(SimulatedModel(InContextReader()), "monte_carlo"))
    trained = await trained_on("triage", services, backward_llm=writer)
    assert trained.usage["proposal"]["calls"] == writer.num_requests > 0
    assert trained.model == "simulated"


async def test_a_server_is_trained_on_and_asked_again(services):
    async with serve(InContextReader()) as server:
        endpoint = LLMConfig(
            provider="openai_compatible", model="simulated", base_url=server.base_url
        )
        trained = await trained_on("triage", services, llm=endpoint)
        again = await dln_core.evaluate(
            trained.network, "triage", llm=endpoint, data=DATA, services=services
        )
    assert again == trained.test


async def test_training_without_a_word_on_the_model_says_how_to_start_one(services):
    with pytest.raises(ConfigError, match=r"dln_core\.llm\.local serve qwen2\.5-coder-0\.5b"):
        await dln_core.train(services=services)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "triag"}, "did you mean triage"),
        ({"llm": "simulated"}, "llm='simulated' is no language model; give an LLMConfig"),
        ({"iterations": 3}, "setting=iterations is unknown; choose one of: data, network, train"),
        ({"trainer": {"steps": 3}}, "'steps' is no setting of TrainerConfig; choose from: preset"),
        ({"trainer": {"batch_size": "6"}}, "a value of TrainerConfig has the wrong type"),
        ({"network": {"layers": [{"nam": "x"}]}}, "'nam' is no setting of LayerConfig"),
        ({"trainer": {"batch_size": 500}}, "batch_size=500 is too large for the 200"),
        ({"seed": -1}, "seed=-1 must not be negative"),
    ],
)
async def test_wrong_settings_end_in_one_sentence(services, changes, message):
    values = {"task": "triage", "llm": SIMULATED, "trainer": FEW_STEPS, "data": DATA} | changes
    with pytest.raises(ConfigError, match=message) as refused:
        await dln_core.train(services=services, **values)
    assert "\n" not in str(refused.value)


async def test_what_cannot_be_evaluated_is_refused_in_one_sentence(services, tmp_path):
    trained = await trained_on(own_task(), services)
    network = trained.network
    with pytest.raises(ConfigError, match="split=tset is unknown; choose one of: train, dev, test"):
        await dln_core.evaluate(network, "triage", llm=SIMULATED, split="tset", services=services)
    task = own_task()
    empty = replace(task, splits=replace(task.splits, test=()))
    with pytest.raises(ConfigError, match="pumps has no item in its test split"):
        await dln_core.evaluate(network, empty, llm=SIMULATED, services=services)
    with pytest.raises(ConfigError, match=r"inputs='one text' is one text; give a list"):
        await dln_core.predict(network, "one text", llm=SIMULATED, services=services)
    biased = replace(network, label_bias={"Urgent": -0.1, "Calm": -2.0})
    with pytest.raises(ConfigError, match=r"give labels=\['Urgent', 'Calm'\]"):
        await dln_core.predict(biased, ["a text"], llm=SIMULATED, services=services)
    with pytest.raises(ConfigError, match="cannot be written to"):
        trained.save(tmp_path / "nowhere" / "network.json")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"train": [], "test": []}, "have the splits train, test; give train, dev and test"),
        (PAIRS | {"test": PAIRS["dev"][:1]}, "stands in dev and in test of pumps"),
        (PAIRS | {"test": [("new", "Odd")]}, r"'Odd', which is not among the labels"),
    ],
)
def test_pairs_that_make_no_honest_task_are_refused(pairs, message):
    with pytest.raises(ConfigError, match=message):
        dln_core.make_task("Say.", pairs, labels=("Urgent", "Calm"), name="pumps")


async def test_free_answers_need_no_labels(services):
    pairs = {split: [(f"{split}: {n} apples", str(n)) for n in range(9)] for split in PAIRS}
    trained = await trained_on(dln_core.make_task("How many?", pairs), services)
    asked = [text for text, _ in pairs["test"]]
    answers = await dln_core.predict(trained.network, asked, llm=SIMULATED, services=services)
    assert answers == [row["prediction"] for row in trained.test.predictions]


def test_importing_the_package_brings_nothing_heavy():
    heavy = ("ray", "hydra", "omegaconf", "mlflow", "aiohttp", "numpy", "anyio")
    code = f"import sys, dln_core, dln_core.errors; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_api_brings_no_framework():
    heavy = {"ray", "hydra", "omegaconf", "mlflow"}
    code = f"import sys; from dln_core import train; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_names_and_no_others():
    assert set(dln_core.__all__) <= set(dir(dln_core))
    assert all(getattr(dln_core, name).__name__ == name for name in dln_core.__all__)
    assert not hasattr(dln_core, "trian")
