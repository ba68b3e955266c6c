"""Whole trials against the simulated model, their names, and what is exported."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dln_core.baselines.networks import NUM_SHOTS, networks_of
from dln_core.baselines.run import measure_baselines, run_baselines
from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    PriceConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.config.baselines import BASELINES, DEFAULT_BASELINES
from dln_core.errors import ConfigError
from dln_core.export import load_network
from dln_core.identity import baseline_id, trial_id
from dln_core.llm.allowance import Allowance, Amount
from dln_core.llm.simulated import InContextReader
from dln_core.network import Network
from dln_core.tasks import load_task
from dln_core.trial import Services, Trial
from tests.servers import serve

SIMULATED = LLMConfig(
    provider="simulated",
    model="simulated",
    price=PriceConfig(prompt_usd_per_million=1.0, completion_usd_per_million=2.0),
)


def settings(**changes):
    values = {
        "task": TaskConfig(name="triage"),
        "data": DataConfig(max_dev=20, max_test=30),
        "network": NetworkConfig(name="dln1", layers=[LayerConfig()]),
        "trainer": TrainerConfig(num_iterations=2, batch_size=6, num_prompts=4),
        "llm": SIMULATED,
        "seed": 13,
    }
    return TrialSettings(**(values | changes))


@pytest.fixture
def services(tmp_path):
    return Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))


async def advances(chosen, services, state=None, **kwargs):
    done = []
    async with Trial.open(chosen, services) as trial:
        while not done or not done[-1].done:
            done.append(await trial.advance(done[-1].state if done else state, **kwargs))
        progress = trial.progress()
    return done, progress


def timeless(event):
    """An event without what may differ between equal trials: times, money, who paid."""
    usage = {
        role: {name: count for name, count in counts.items() if not name.startswith("paid")}
        for role, counts in event["usage"].items()
    }
    kept = {k: v for k, v in event.items() if k not in ("seconds", "cost_usd")}
    return kept | {"usage": usage}


async def test_a_trial_starts_steps_and_looks_at_test_once(services):
    done, progress = await advances(settings(), services)
    assert [a.event["kind"] for a in done] == ["start", "step", "step", "finish"]
    assert [a.event["step"] for a in done] == [0, 1, 2, 2]
    for advance in done[:-1]:
        assert "test" not in advance.event["usage"]
    finish = done[-1].event
    assert finish["usage"]["test"]["calls"] == 30
    assert finish["test"]["num_items"] == len(finish["predictions"]) == 30
    assert finish["stopped"] is None
    assert progress["calls"] == sum(
        counts["calls"] for a in done for counts in a.event["usage"].values()
    )
    json.dumps([[a.state, a.event] for a in done], allow_nan=False)


async def test_the_tested_network_is_the_best_on_dev(services):
    done, _ = await advances(settings(), services)
    accuracies = [a.event["metrics"].get("dev/accuracy") for a in done]
    best = done[-1].event["best"]
    assert best["dev_accuracy"] == max(a for a in accuracies if a is not None)
    tested = Network.from_dict(done[-1].event["best_network"])
    assert tested == Network.from_dict(done[best["step"]].event["network"])


async def test_another_process_goes_on_from_any_state_as_if_nothing_had_happened(services):
    done, _ = await advances(settings(), services)
    for index in range(len(done) - 1):
        resumed, _ = await advances(settings(), services, state=done[index].state)
        expected = [timeless(a.event) for a in done[index + 1 :]]
        assert [timeless(a.event) for a in resumed] == expected


async def test_nothing_is_paid_for_twice(services):
    _, first = await advances(settings(), services)
    again, second = await advances(settings(), services)
    assert first["paid_calls"] > 0
    assert first["cost_usd"] > 0
    assert second["calls"] == first["calls"]
    assert second["paid_calls"] == 0
    assert again[-1].event["cost_usd"] == 0


async def test_a_budget_ends_training_with_a_test_of_the_best_so_far(services):
    done, _ = await advances(settings(), services, stop="budget")
    assert [a.event["kind"] for a in done] == ["start", "finish"]
    assert done[-1].event["stopped"] == "budget"


async def test_an_untrained_network_is_only_evaluated(services):
    network = NetworkConfig(name="few_shot", layers=[LayerConfig(trained=False)], num_shots=4)
    done, _ = await advances(settings(network=network), services)
    assert [a.event["kind"] for a in done] == ["start", "finish"]
    assert done[-1].event["stopped"] is None
    shown = done[0].event["network"]["layers"][0]["prompts"][0]["demonstrations"]
    assert len(shown) == 4


async def test_what_was_exported_is_loaded_and_trained_on(services, tmp_path):
    done, _ = await advances(settings(), services)
    path = tmp_path / "network.json"
    path.write_text(json.dumps(done[-1].event["best_network"]))
    assert load_network(path) == Network.from_dict(done[-1].event["best_network"])
    network = replace(settings().network, init=str(path))
    more, _ = await advances(settings(network=network), services)
    assert more[0].event["metrics"] == {"dev/accuracy": done[-1].event["best"]["dev_accuracy"]}


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"format": "dln-network"}'])
def test_what_is_no_exported_network_is_refused(tmp_path, content):
    path = tmp_path / "network.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"network\.json"):
        load_network(path)
    with pytest.raises(ConfigError, match=r"network\.json"):
        load_network(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": TrainerConfig(batch_size=200)}, "batch_size=200 is too large for the 200"),
        ({"network": NetworkConfig(num_shots=201)}, "num_shots=201 is more than the 200"),
        ({"task": TaskConfig(name="triag")}, "triage"),
        ({"task": TaskConfig(name="trec"), "data": DataConfig(dir="/nowhere")}, "data.dir"),
        ({"llm": LLMConfig(provider="local")}, "llm.base_url is missing"),
    ],
)
async def test_settings_that_do_not_fit_end_in_one_sentence(services, changes, message):
    with pytest.raises(ValueError, match=message):
        await advances(settings(**changes), services)


def test_the_name_of_a_trial_holds_what_results_depend_on_and_nothing_else():
    name = trial_id(settings(), "data")
    assert name == trial_id(settings(llm=replace(SIMULATED, api_key_env="OTHER")), "data")
    assert name == trial_id(settings(llm=replace(SIMULATED, base_url="http://there/v1")), "data")
    assert name == trial_id(settings(data=DataConfig(dir="/elsewhere")), "data")
    others = [
        trial_id(settings(), "other data"),
        trial_id(settings(seed=14), "data"),
        trial_id(settings(llm=replace(SIMULATED, revision="2")), "data"),
        trial_id(settings(trainer=TrainerConfig(num_prompts=5)), "data"),
        trial_id(settings(backward_llm=replace(SIMULATED, model="big")), "data"),
    ]
    assert len({name, *others}) == 6


def test_what_does_not_depend_on_the_seed_is_one_trial():
    untrained = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
    few_shot = replace(untrained, num_shots=4)
    names = {trial_id(settings(network=untrained, seed=seed), "data") for seed in (13, 42, 25)}
    assert len(names) == 1
    names = {trial_id(settings(network=few_shot, seed=seed), "data") for seed in (13, 42, 25)}
    assert len(names) == 3
    assert len({baseline_id(settings(seed=seed), "data") for seed in (13, 42)}) == 1


async def test_reference_points_cover_the_same_test_items(services):
    rows = await run_baselines(settings(), services)
    names = [row["baseline"] for row in rows]
    assert names == ["majority", "initial", "initial_calibrated", "few_shot"]
    task = load_task(settings().task, settings().data)
    for row in rows:
        assert [p["id"] for p in row["predictions"]] == [e.id for e in task.splits.test]
        assert row["low"] <= row["accuracy"] <= row["high"]
    majority = {p["prediction"] for p in rows[0]["predictions"]}
    assert len(majority) == 1
    untrained = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
    done, _ = await advances(settings(network=untrained), services)
    assert rows[1]["num_correct"] == done[-1].event["test"]["num_correct"]


async def test_further_reference_points_are_asked_for_by_name(services):
    rows = await run_baselines(settings(), services, BASELINES)
    names = [row["baseline"] for row in rows]
    phrased = [f"handwritten_{name}" for name in ("brief", "careful", "expert")]
    plain = ["majority", "initial", "initial_calibrated"]
    assert names == [*plain, *phrased, "few_shot", "kate", "cot"]
    for row in rows:
        assert [p["id"] for p in row["predictions"]] == [p["id"] for p in rows[0]["predictions"]]
    few = await run_baselines(settings(), services, ["cot", "kate"])
    assert [row["baseline"] for row in few] == ["kate", "cot"]
    # One call an item shows it its neighbours, two let it think.
    assert sum(counts["calls"] for counts in few[0]["usage"].values()) == 3 * 30


async def test_reference_points_end_where_an_allowance_does_and_say_what_is_missing(services):
    whole = await run_baselines(settings(), services, ["initial", "kate", "cot"])
    tokens = sum(
        counts["prompt_tokens"] + counts["completion_tokens"]
        for counts in whole[0]["usage"].values()
    )
    allowance = Allowance(Amount(tokens / 2, cost_usd=1.0))
    names = ["cot", "initial", "kate"]
    part = await measure_baselines(settings(), services, names, allowance=allowance)
    assert ("initial", *part.missing) in {("initial", "kate", "cot"), ("initial", "cot")}
    done = 3 - len(part.missing)
    assert [row["accuracy"] for row in part.rows] == [row["accuracy"] for row in whole[:done]]
    used = part.usage["test"]
    assert used["prompt_tokens"] + used["completion_tokens"] <= tokens / 2


def test_reference_points_are_named_by_which_they_are():
    usual = baseline_id(settings(), "data")
    assert usual == baseline_id(settings(), "data", DEFAULT_BASELINES[::-1])
    assert usual != baseline_id(settings(), "data", ["initial", "kate"])


def test_handwritten_prompts_hold_the_instruction_of_the_task_braces_and_all():
    task = replace(load_task(settings().task, settings().data), instruction="Say {this}.")
    prompts = [net.prompts()[0] for net in networks_of("handwritten", task).values()]
    assert len({prompt.instruction for prompt in prompts}) == 3
    assert all("Say {this}." in prompt.instruction for prompt in prompts)


def test_kate_and_few_shot_show_equally_many_training_examples():
    task = load_task(settings().task, settings().data)
    few_shot, kate = (networks_of(name, task)[name] for name in ("few_shot", "kate"))
    assert kate.layers[0].num_nearest == len(few_shot.prompts()[0].demonstrations) == NUM_SHOTS
    train = {example.target for example in task.splits.train}
    assert {shown.output for shown in kate.prompts()[0].demonstrations} == train


async def test_tasks_without_labels_have_no_majority_to_name(services):
    rows = await run_baselines(settings(task=TaskConfig(name="stock_count")), services)
    assert [row["baseline"] for row in rows] == ["initial", "few_shot"]


TWO_LAYERS = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=8),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)


@pytest.mark.parametrize("next_token", ["true", "null"])
@pytest.mark.parametrize(
    "changes",
    [{"network": TWO_LAYERS}, {"task": TaskConfig(name="stock_count")}],
    ids=["hidden text", "free answers"],
)
async def test_where_whole_texts_cannot_be_scored_training_samples_them(
    services, changes, next_token
):
    routes = {"chat/completions"}
    async with serve(InContextReader(), routes=routes, next_token=next_token) as server:
        endpoint = LLMConfig(
            provider="openai_compatible", model="simulated", base_url=server.base_url
        )
        small = {"data": DataConfig(max_dev=6, max_test=6)}
        trainer = TrainerConfig(num_iterations=2, batch_size=3, num_prompts=2, num_hidden=2)
        chosen = settings(llm=endpoint, trainer=trainer, **small, **changes)
        done, _ = await advances(chosen, services)
    assert [a.event["kind"] for a in done] == ["start", "step", "step", "finish"]
    assert done[0].event["rung"] == "monte_carlo"
    for advance in done[1:3]:
        assert "train/objective" in advance.event["metrics"]
        assert not [name for name in advance.event["metrics"] if "elbo" in name]
    assert done[-1].event["test"]["num_items"] == 6


async def test_next_token_log_probs_suffice_for_labels(services):
    async with serve(InContextReader(), routes={"chat/completions"}) as server:
        endpoint = LLMConfig(
            provider="openai_compatible", model="simulated", base_url=server.base_url
        )
        data = DataConfig(max_dev=6, max_test=6)
        done, _ = await advances(settings(llm=endpoint, data=data), services)
    assert done[0].event["rung"] == "label"
    assert done[-1].event["kind"] == "finish"


async def test_a_backward_model_needs_no_log_probs(services):
    async with serve(InContextReader(), routes={"chat/completions"}, next_token="null") as server:
        writer = LLMConfig(provider="openai_compatible", model="writer", base_url=server.base_url)
        done, _ = await advances(settings(backward_llm=writer), services)
        assert done[-1].done
        assert server.num_requests > 0


def test_an_address_with_a_password_is_refused():
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        LLMConfig(provider="openai_compatible", base_url="http://me:secret@there/v1")


@pytest.mark.parametrize("address", ["there/v1", "http://", "http:///v1", "http://[::1"])
def test_an_address_without_a_host_is_refused(address):
    with pytest.raises(ConfigError, match="and a host"):
        LLMConfig(provider="openai_compatible", base_url=address)


def test_an_address_with_a_query_is_refused_without_telling_it():
    with pytest.raises(ConfigError, match="api_version") as caught:
        LLMConfig(provider="azure", base_url="https://there/openai?api-version=1&key=secret")
    assert "secret" not in str(caught.value)
