"""Networks as graphs: who reads what, copies and how they are joined, tools."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dln_core import neighbours
from dln_core.building import build_network, warm_start
from dln_core.config import LayerConfig, NetworkConfig
from dln_core.errors import ConfigError
from dln_core.export import load_network, network_document
from dln_core.graph import Slot
from dln_core.llm.simulated import SimulatedModel
from dln_core.network import Network
from dln_core.types import Prompt, Role
from dln_core.voting import Answer, join_answers, most_frequent
from tests.worlds import LABELS, parity_task

TASK = parity_task()
EXAMPLE = TASK.splits.dev[0]


UNTRAINED = LayerConfig(trained=False)


class Echo:
    """Writes who asked and what was read, so that a trace shows every request."""

    def distribution(self, request):
        instruction, body = request.messages[0].text.split("\n\n")
        return {f"[{instruction}: {'; '.join(body.splitlines())}]": 1.0}


class Coin:
    """Writes one of two texts; the answer follows the text that it read."""

    def __init__(self, p=0.7):
        self.p = p

    def distribution(self, request):
        text = request.messages[-1].text
        if "Label:" not in text:
            return {"heads": self.p, "tails": 1 - self.p}
        right = "Even" if "Thoughts: heads" in text else "Odd"
        return {label: 0.9 if label == right else 0.1 for label in LABELS}


def network(*layers, **values):
    return build_network(NetworkConfig(name="n", layers=list(layers), **values), TASK)


def hidden(name, **values):
    return LayerConfig(
        **({"name": name, "template": "hidden", "instruction": name, "max_tokens": 60} | values)
    )


async def run(built, world, example=EXAMPLE, **values):
    return await built.run(SimulatedModel(world), example, role=Role.forward, **values)


async def test_a_layer_reads_the_input_and_earlier_layers_in_the_order_it_names_them():
    built = network(
        hidden("attempt", output_name="Attempt"),
        hidden("critique", reads=["attempt", "input"], output_name="Critique"),
        LayerConfig(reads=["input", "critique", "attempt"], instruction="answer"),
    )
    bare = replace(EXAMPLE, labels=())
    trace = await run(built, Echo(), bare)
    attempt = f"[attempt: Item: {bare.input}; Attempt:]"
    critique = f"[critique: Attempt: {attempt}; Item: {bare.input}; Critique:]"
    assert trace.hidden == (attempt, critique)
    assert trace.prediction == (
        f"[answer: Item: {bare.input}; Critique: {critique}; Attempt: {attempt}; Label:]"
    )


async def test_by_default_a_layer_reads_the_one_before_it_alone():
    built = network(hidden("a"), LayerConfig(instruction="answer"))
    trace = await run(built, Echo(), replace(EXAMPLE, labels=()))
    assert trace.prediction.startswith("[answer: Thoughts: [a: Item")
    assert trace.prediction.count("Item:") == 1


async def test_concatenated_copies_are_numbered_for_their_reader():
    built = network(
        hidden("a", width=3, temperature=1.0, join="concatenate"),
        LayerConfig(instruction="answer"),
    )
    bodies = [built.body(3, EXAMPLE, {0: "x", 1: "y", 2: "z"})]
    assert bodies == ["Thoughts 1: x\nThoughts 2: y\nThoughts 3: z"]
    trace = await run(built, Coin(0.5))
    assert len(trace.hidden) == 3


async def test_copies_of_one_width_read_each_other_and_the_majority_answers():
    built = network(
        hidden("thoughts", width=5, temperature=0.7),
        LayerConfig(reads=["input", "thoughts"], width=5, join="majority"),
    )
    seen = set()
    for example in TASK.splits.dev[:20]:
        trace = await run(built, Coin(), example)
        heads = trace.hidden.count("heads")
        assert trace.prediction == ("Even" if heads >= 3 else "Odd")
        seen.add(heads)
    assert len(seen) > 2


async def test_hidden_copies_can_settle_on_the_majoritys_text():
    built = network(
        hidden("thoughts", width=5, temperature=0.7, join="majority"),
        LayerConfig(reads=["thoughts"], instruction="answer"),
    )
    trace = await run(built, Coin())
    copies, settled = trace.texts[:5], trace.texts[5]
    assert settled == max(set(copies), key=copies.count)


async def test_equal_seeds_draw_equal_copies_and_copies_differ():
    built = network(
        hidden("a", width=8, temperature=1.0, join="concatenate"), LayerConfig(instruction="x")
    )
    first, second = await run(built, Coin(0.5)), await run(built, Coin(0.5))
    assert first.texts == second.texts
    assert len(set(first.hidden)) == 2


async def test_a_layer_of_tools_carries_out_what_a_thought_asks_for():
    built = network(
        hidden("thought"),
        LayerConfig(name="observation", tools=["calculator"]),
        LayerConfig(reads=["input", "observation"], instruction="answer"),
    )

    class Asks:
        def distribution(self, request):
            if "observation" in request.messages[-1].text.lower():
                return {"Odd": 1.0}
            return {"I need calculator[6*7]": 1.0}

    trace = await run(built, Asks(), replace(EXAMPLE, labels=()))
    assert trace.hidden == ("I need calculator[6*7]", "42")
    assert built.slots == (Slot(0, 0), Slot(2, 0))
    assert built.graph.readers(0) == (2,)


async def test_a_vote_by_probability_can_overrule_the_majority():
    sure, unsure = np.log([0.95, 0.05]), np.log([0.45, 0.55])
    answers = [Answer("Even", sure), Answer("Odd", unsure), Answer("Odd", unsure)]
    assert join_answers(answers, LABELS, "vote").text == "Even"
    assert join_answers(answers, LABELS, "majority").text == "Odd"
    mixture = np.exp(join_answers(answers, LABELS, "vote").label_logprobs)
    np.testing.assert_allclose(mixture, [(0.95 + 0.45 * 2) / 3, (0.05 + 0.55 * 2) / 3])


def test_written_answers_count_as_equal_whatever_their_case_and_final_stop():
    assert most_frequent(["Paris.", "Rome", "paris"]) == "Paris."
    assert most_frequent(["Rome", "Paris"]) == "Rome"
    votes = [Answer("a", weight=0.2), Answer("b", weight=0.9), Answer("a", weight=0.2)]
    assert join_answers(votes, (), "vote").text == "b"
    assert join_answers(votes, (), "majority").text == "a"


async def test_an_ensemble_has_a_prompt_for_each_copy():
    built = network(LayerConfig(width=3, shares_prompt=False, join="vote"))
    assert built.slots == (Slot(0, 0), Slot(0, 1), Slot(0, 2))
    changed = built.with_prompt(Slot(0, 1), Prompt("other"))
    assert [p.instruction for p in changed.prompts()] == [
        TASK.instruction,
        "other",
        TASK.instruction,
    ]
    assert changed.nodes_of(Slot(0, 1)) == (1,)
    assert Network.from_dict(changed.to_dict()) == changed


async def test_the_label_bias_moves_what_is_predicted():
    class Leans:
        def distribution(self, request):
            return {"Even": 0.6, "Odd": 0.4}

    built = network(LayerConfig())
    assert (await run(built, Leans())).prediction == "Even"
    biased = replace(built, label_bias={"Even": math.log(0.6), "Odd": math.log(0.4)})
    trace = await run(biased, Leans())
    np.testing.assert_allclose(np.exp(trace.answer.label_logprobs), [0.5, 0.5])
    assert Network.from_dict(biased.to_dict()) == biased


def test_nearest_demonstrations_stand_closest_to_what_is_asked():
    config = NetworkConfig(name="kate", layers=[UNTRAINED], num_shots=2, shots="nearest")
    built = build_network(config, TASK, TASK.splits.train)
    messages = built.writer(0).messages("Item: the number 107")
    assert len(messages) == 5
    # The pool holds this very item, which is never shown with its own answer.
    assert not any("107" in message.text for message in messages[:-1])


def test_preparing_indexes_the_demonstrations_before_the_first_run():
    config = NetworkConfig(name="kate", layers=[UNTRAINED], num_shots=2, shots="nearest")
    built = build_network(config, TASK, TASK.splits.train[:7])
    pool = built.writer(0).prompt.demonstrations
    known = neighbours._similarity_to.cache_info().misses
    built.prepare()
    neighbours._similarity_to(pool)
    assert neighbours._similarity_to.cache_info().misses == known + 1


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([LayerConfig(reads=["later"]), LayerConfig(name="later")], "reads 'later'"),
        ([LayerConfig(name="a", reads=["a"]), LayerConfig()], "reads 'a'"),
        ([LayerConfig(name="a"), LayerConfig(reads=["input"])], "no layer reads a"),
        ([LayerConfig(name="a"), LayerConfig(name="a")], "two layers of one name"),
        ([LayerConfig(reads=[])], "reads nothing"),
        ([LayerConfig(reads=["input", "input"])], "the same twice"),
        ([LayerConfig(width=3, temperature=1.0)], "join=None does not suit"),
        ([LayerConfig(width=3, join="majority")], "would all be equal"),
        (
            [LayerConfig(name="a"), LayerConfig(tools=["calculator"])],
            "a language layer has to answer",
        ),
        ([LayerConfig(name="a", tools=["calculator"]), LayerConfig()], "cannot read the input"),
        (
            [LayerConfig(name="a", width=2, temperature=1.0), LayerConfig()],
            "whose 2 outputs are not joined",
        ),
    ],
)
def test_a_network_that_cannot_be_run_is_refused_before_any_call(layers, message):
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(name="n", layers=layers)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "must be at least 1"),
        ({"name": "input"}, "cannot be named 'input'"),
        ({"temperature": -0.1}, "must not be negative"),
        ({"join": "mean"}, "choose one of: concatenate, majority, vote"),
    ],
)
def test_a_layer_that_cannot_be_built_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        LayerConfig(**values)


def test_layers_of_the_same_name_take_the_exported_prompts():
    one = network(LayerConfig()).with_prompt(Slot(0, 0), Prompt("learned"))
    config = NetworkConfig(
        name="n",
        layers=[hidden("thoughts"), LayerConfig(reads=["input", "thoughts"])],
        trained=["thoughts"],
    )
    two = warm_start(build_network(config, TASK), one, config)
    assert [prompt.instruction for prompt in two.prompts()] == ["thoughts", "learned"]
    assert [layer.trained for layer in two.layers] == [True, False]
    small = NetworkConfig(name="m", trained=["output"])
    whole = warm_start(build_network(small, TASK), two, small)
    assert [layer.name for layer in whole.layers] == ["thoughts", "output"]
    assert [layer.trained for layer in whole.layers] == [False, True]


def test_what_is_configured_as_untrained_stays_so_whatever_is_loaded():
    config = NetworkConfig(
        name="dln2", layers=[hidden("thoughts"), LayerConfig(reads=["input", "thoughts"])]
    )
    zero_shot = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
    loaded = warm_start(build_network(zero_shot, TASK), build_network(config, TASK), zero_shot)
    assert [layer.trained for layer in loaded.layers] == [False, False]


def test_a_warm_start_keeps_how_demonstrations_are_chosen_and_the_label_prior():
    kate = NetworkConfig(
        name="kate", layers=[LayerConfig(trained=False)], num_shots=2, shots="nearest"
    )
    exported = replace(build_network(kate, TASK, TASK.splits.train[:9]), label_bias={"Even": -0.5})
    one = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
    loaded = warm_start(build_network(one, TASK), exported, one)
    assert loaded.writer(0).num_nearest == 2
    assert loaded.label_bias == {"Even": -0.5}


def test_a_file_alone_does_not_decide_what_is_imported_and_run(tmp_path):
    built = network(
        hidden("thought"),
        LayerConfig(name="observation", reads=["thought"], tools=["json:loads", "calculator"]),
        LayerConfig(reads=["input", "observation"]),
    )
    path = tmp_path / "network.json"
    path.write_text(json.dumps(network_document(built, "m")))
    with pytest.raises(ConfigError, match="calls the function json:loads"):
        load_network(path)
    assert load_network(path, tools=["json:loads"]) == built


def test_an_export_of_another_template_version_is_refused(tmp_path):
    document = network_document(network(LayerConfig()), "m")
    document["layers"][0]["template"]["version"] = 99
    path = tmp_path / "network.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="exported with version 99 of the template answer"):
        load_network(path)


def test_an_exported_ensemble_does_not_fit_a_single_copy():
    ensemble = network(LayerConfig(width=2, shares_prompt=False, join="vote"))
    config = NetworkConfig(name="n", init="there/network.json")
    with pytest.raises(ConfigError, match=r"2 in there/network\.json"):
        warm_start(build_network(config, TASK), ensemble, config)
