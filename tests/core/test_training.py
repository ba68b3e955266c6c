"""Training on planted worlds, whose distributions can be enumerated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dln_core.building import build_network
from dln_core.config import (
    GuideConfig,
    LayerConfig,
    NetworkConfig,
    PosteriorConfig,
    ProposalConfig,
    ProposalMix,
    RacingConfig,
    SelectionConfig,
    TrainerConfig,
)
from dln_core.evaluation import accuracy, evaluate
from dln_core.graph import Slot
from dln_core.guide import Guide
from dln_core.inference import Inference, infer, observe
from dln_core.llm.simulated import SimulatedModel
from dln_core.measuring import LogprobMeasure
from dln_core.network import EMPTY_HIDDEN, Network
from dln_core.proposals.evidence import Candidate
from dln_core.ranking import Ranker
from dln_core.reading import Part, Reading, shows
from dln_core.scoring import Scorer
from dln_core.state import Remembered, TrainerState
from dln_core.types import Demonstration, Example, Prompt, Role
from dln_core.vi.selection import Penalties
from dln_core.weighing import LogprobWeigher
from tests.trainers import train, trainer_of
from tests.worlds import (
    ANSWER_KEY,
    HIDDEN_KEY,
    LABELS,
    HiddenStepWorld,
    OneStepWorld,
    parity_task,
)

TASK = parity_task()
ONE_LAYER = NetworkConfig(name="dln1", layers=[LayerConfig()])
TWO_LAYERS = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=16),
        LayerConfig(name="output", reads=["input", "thoughts"]),
    ],
)


def trainer(world, seed=13, **settings):
    config = {
        "num_iterations": 8,
        "batch_size": 10,
        "num_prompts": 16,
        "num_hidden": 4,
        "proposal": ProposalConfig(mix=ProposalMix(examples=0.0)),
    }
    return trainer_of(SimulatedModel(world), TASK, TrainerConfig(**(config | settings)), seed)


def guide_of(model, num_hidden, scale="per_token", mixture=None):
    mixture, posterior = mixture or GuideConfig(), PosteriorConfig()
    scorer = Scorer(model, SelectionConfig(logprob_scale=scale))
    weigher = LogprobWeigher(scorer=scorer, config=posterior, mixture=mixture)
    return Guide(
        model=model, weigher=weigher, mixture=mixture, posterior=posterior, num_hidden=num_hidden
    )


def ran(network, predictions):
    """What is known after the forward passes."""
    return Inference(
        network=network,
        labels=LABELS,
        observed=observe(network, predictions, (13, 1), 0),
        are_correct=tuple(prediction.is_correct for prediction in predictions),
        samples={},
        num_ranked=len(predictions),
    )


@pytest.mark.parametrize("seed", [13, 42, 25])
async def test_one_layer_finds_the_key_sentence_among_twenty_others(seed):
    state, infos = await train(trainer(OneStepWorld(), seed), ONE_LAYER)
    assert state.best.network.layers[0].prompt.instruction == ANSWER_KEY
    assert state.best.dev_accuracy == 1.0
    assert infos[-1].metrics["train/elbo"] == pytest.approx(math.log(0.97))


@pytest.mark.parametrize("seed", [13, 42, 25])
async def test_two_layers_learn_to_write_the_hidden_text_that_one_layer_lacks(seed):
    # The initial prior is sure of a useless text, and so are the weights: by the bound alone, no
    # prompt that moves away from it would win.
    settings = {
        "guide": GuideConfig(include_forward=False, temperature=1.0),
        "posterior": PosteriorConfig(use_guide_density=True),
        "selection": SelectionConfig(logprob_scale="sum", evidence=True),
    }
    two, _ = await train(trainer(HiddenStepWorld(), seed, **settings), TWO_LAYERS)
    one, _ = await train(trainer(HiddenStepWorld(), seed), ONE_LAYER)
    assert HIDDEN_KEY in two.best.network.layers[0].prompt.instruction
    assert two.best.dev_accuracy == 1.0
    assert one.best.dev_accuracy == 0.5


async def test_equal_seeds_give_equal_trials_and_other_seeds_do_not():
    first, infos = await train(trainer(HiddenStepWorld()), TWO_LAYERS)
    again, infos_again = await train(trainer(HiddenStepWorld()), TWO_LAYERS)
    assert first.to_dict() == again.to_dict()
    assert infos == infos_again
    _, others = await train(trainer(HiddenStepWorld(), seed=14), TWO_LAYERS)
    assert infos != others


async def test_a_state_that_went_through_json_goes_on_as_if_nothing_had_happened():
    trained = trainer(HiddenStepWorld())
    state = await trained.initial_state(build_network(TWO_LAYERS, TASK))
    for _ in range(2):
        state, _ = await trained.step(state, trained.draw_batch(state))
    loaded = TrainerState.from_dict(state.to_dict())
    assert loaded == state
    assert await trained.step(loaded, trained.draw_batch(loaded)) == await trained.step(
        state, trained.draw_batch(state)
    )


async def test_the_bound_never_exceeds_the_evidence_and_meets_it_at_the_full_posterior():
    world, model = HiddenStepWorld(), SimulatedModel(HiddenStepWorld())
    network = build_network(TWO_LAYERS, TASK)
    examples = TASK.splits.train[:6]
    predictions = await evaluate(network, model, TASK, examples, role=Role.forward)
    for num_hidden in (1, 2, 60):
        guide = guide_of(model, num_hidden=num_hidden, scale="sum")
        inference = await infer(guide, ran(network, predictions), (13, 1))
        samples = inference.samples[0]
        for row, example in enumerate(examples):
            prior = world.hidden(network.body(0, example, {}))
            evidence = math.log(sum(p * answer_probability(h, example) for h, p in prior.items()))
            bound = sum(
                w * (math.log(prior[h] * answer_probability(h, example)) - math.log(w))
                for h, w in zip(samples.texts[row], samples.weights[row], strict=False)
            )
            assert bound <= evidence + 1e-9
            if len(samples.texts[row]) == len(prior):
                assert bound == pytest.approx(evidence, abs=1e-9)
    assert any(len(texts) == 4 for texts in samples.texts)


def answer_probability(hidden, example):
    if "even" in hidden or "odd" in hidden:
        return 0.97 if example.target.lower() in hidden else 1 - 0.97
    return 0.6 if example.target == "Even" else 0.4


async def test_one_step_selects_what_a_hand_calculation_selects():
    """Two bodies of weights .75 and .25, two candidates, summed log-probs: arrays by hand."""
    example = Example(id="1", input="x", target="Even", labels=LABELS)
    table = {("one", "a"): 0.5, ("one", "b"): 0.5, ("two", "a"): 0.9, ("two", "b"): 0.1}

    class Table:
        def distribution(self, request):
            instruction, body = request.messages[0].text.split("\n\n")
            p = table[instruction, body.split("\n")[0]]
            return {"Even": p, "Odd": 1 - p}

    network = build_network(ONE_LAYER, TASK)
    ranker = Ranker(
        measure=LogprobMeasure(
            scorer=Scorer(SimulatedModel(Table()), SelectionConfig()),
            network=network,
            contrastive=False,
            explores=False,
        ),
        penalties=Penalties(trust_factor=0.5),
        racing=RacingConfig(),
        calibrates=False,
        estimates_evidence=False,
    )
    part = Part(node=0, bodies=("a", "b"), targets=(), weights=np.array([[0.75], [0.25]]))
    reading = Reading(example=example, input_field="Item: x", parts=(part,), row=0)
    candidates = [Candidate(Prompt("one"), "current"), Candidate(Prompt("two"), "rewrite")]
    ranking = await ranker.rank(candidates, [reading])
    objective = np.array([math.log(0.5), 0.75 * math.log(0.9) + 0.25 * math.log(0.1)])
    divergence = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    np.testing.assert_allclose(ranking.objective, objective)
    np.testing.assert_allclose(ranking.trust_region_kl, [0.0, divergence])
    np.testing.assert_allclose(ranking.rewards, objective - 0.5 * np.array([0, divergence]))
    assert ranking.selected == int(np.argmax(ranking.rewards))


async def test_no_candidate_is_ranked_on_an_example_that_it_shows():
    trained = trainer(OneStepWorld(), proposal=ProposalConfig(mix=ProposalMix(rewrite=0.0)))
    state = await trained.initial_state(build_network(ONE_LAYER, TASK))
    for _ in range(4):
        batch = trained.draw_batch(state)
        state, info = await trained.step(state, batch)
        ranked = {f"Item: {example.input}" for example in batch.ranked}
        shown = {d["input"] for c in info.candidates for d in c["demonstrations"]}
        assert len(shown) > 4
        assert not ranked & shown


async def test_a_batch_draws_no_example_twice_and_only_from_training():
    trained = trainer(OneStepWorld())
    state = await trained.initial_state(build_network(ONE_LAYER, TASK))
    batch = trained.draw_batch(state)
    ids = [example.id for example in (*batch.ranked, *batch.cases, *batch.rest)]
    assert len(batch.ranked) == 10
    assert sorted(ids) == sorted(example.id for example in TASK.splits.train)


async def test_the_memory_keeps_the_best_networks_and_a_drought_brings_the_best_back():
    trained = trainer(OneStepWorld(), selection=SelectionConfig(memory=2, tolerance=1))
    network = build_network(ONE_LAYER, TASK)
    worse = network.with_prompt(Slot(0, 0), Prompt("worse"))
    state = TrainerState(
        step=1,
        network=worse,
        best=Remembered(network, 0.8),
        best_step=0,
        memory=(Remembered(network, 0.8),),
    )
    once = trained._remember(state, Remembered(worse, 0.5))
    assert [entry.dev_accuracy for entry in once.memory] == [0.8, 0.5]
    assert once.network == worse
    twice = trained._remember(once, Remembered(worse, 0.5))
    assert twice.network == network
    better = trained._remember(twice, Remembered(network, 0.9))
    assert (better.best.dev_accuracy, better.num_stale) == (0.9, 0)
    assert len(better.memory) == 2


async def test_an_untrained_layer_keeps_its_prompt():
    frozen = replace(TWO_LAYERS.layers[0], trained=False)
    config = NetworkConfig(name="dln2", layers=[frozen, TWO_LAYERS.layers[1]])
    state, _ = await train(trainer(HiddenStepWorld(), num_iterations=2), config)
    assert state.network.layers[0].prompt == Prompt("Think.")


async def test_an_empty_hidden_text_is_never_sampled():
    class Silent(HiddenStepWorld):
        def hidden(self, text):
            return {"": 0.9, "it is even": 0.1}

    model = SimulatedModel(Silent())
    network = build_network(TWO_LAYERS, TASK)
    predictions = await evaluate(network, model, TASK, TASK.splits.train[:4], role=Role.forward)
    assert {p.trace.texts[0] for p in predictions} == {EMPTY_HIDDEN}
    guide = guide_of(model, num_hidden=5, mixture=GuideConfig(include_forward=False))
    inference = await infer(guide, ran(network, predictions), (13, 1))
    assert all(all(texts) for texts in inference.samples[0].texts)


async def test_predictions_are_judged_and_the_target_is_never_read():
    model = SimulatedModel(OneStepWorld())
    network = build_network(ONE_LAYER, TASK)
    keyed = network.with_prompt(Slot(0, 0), Prompt(ANSWER_KEY))
    test = TASK.splits.test
    assert accuracy(await evaluate(keyed, model, TASK, test, role=Role.test)) == 1.0
    hidden = [replace(example, target="?") for example in test]
    blind = await evaluate(keyed, model, TASK, hidden, role=Role.test)
    assert [p.trace.prediction for p in blind] == [example.target for example in test]


def test_a_network_survives_json():
    network = build_network(TWO_LAYERS, TASK)
    prompt = Prompt("Do.", (Demonstration("Item: a", "Even"),))
    changed = network.with_prompt(Slot(1, 0), prompt)
    assert Network.from_dict(changed.to_dict()) == changed


def test_an_example_is_found_in_a_demonstration_wherever_its_input_stands():
    shown = Demonstration("Thoughts: hm\nItem: the number 7", "Odd")
    assert shows(shown, "Item: the number 7")
    assert not shows(shown, "Item: the number")
    assert not shows(Demonstration("Item: the number 77", "Odd"), "Item: the number 7")
