"""Training without log-probs of whole texts: sampled hidden texts, judged answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dln_core.building import build_network
from dln_core.config import (
    GuideConfig,
    LayerConfig,
    NetworkConfig,
    ProposalConfig,
    ProposalMix,
    ScoringConfig,
    TrainerConfig,
)
from dln_core.llm.simulated import SimulatedModel, WithoutScores
from dln_core.montecarlo import Rollouts
from dln_core.types import Role
from tests.trainers import train, trainer_of
from tests.worlds import ANSWER_KEY, HIDDEN_KEY, LABELS, HiddenStepWorld, OneStepWorld, parity_task

TASK = parity_task()
TWO_LAYERS = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=16),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)


def trainer(world, rung, **settings):
    values = {
        "num_iterations": 6,
        "batch_size": 12,
        "num_prompts": 12,
        "num_hidden": 4,
        "guide": GuideConfig(include_forward=False),
        "proposal": ProposalConfig(mix=ProposalMix(examples=0.0)),
    }
    model = WithoutScores(SimulatedModel(world), rung)
    task = TASK if rung == "label" else TASK.without_label_scores()
    return trainer_of(
        model,
        task,
        TrainerConfig(**(values | settings)),
        scoring=ScoringConfig(num_samples=4),
        has_logprobs=False,
    )


@pytest.mark.parametrize("rung", ["label", "monte_carlo"])
async def test_two_layers_are_trained_through_a_chat_endpoint(rung):
    state, infos = await train(trainer(HiddenStepWorld(), rung), TWO_LAYERS)
    assert HIDDEN_KEY in state.best.network.layers[0].prompt.instruction
    assert state.best.dev_accuracy >= 0.9
    assert not any("elbo" in name for info in infos for name in info.metrics)
    assert all(math.isfinite(value) for info in infos for value in info.metrics.values())


async def test_one_layer_is_trained_by_judging_what_it_writes():
    one = NetworkConfig(name="dln1")
    state, _ = await train(trainer(OneStepWorld(), "monte_carlo"), one)
    assert state.best.network.layers[0].prompt.instruction == ANSWER_KEY
    assert state.best.dev_accuracy >= 0.9


class Fair:
    """A hidden coin, and an answer that follows it with known probabilities."""

    def distribution(self, request):
        text = request.messages[-1].text
        if text.endswith("Thoughts:"):
            return {"heads": 0.25, "tails": 0.75}
        p = 0.8 if "Thoughts: heads" in text else 0.4
        return {"Even": p, "Odd": 1 - p}


async def test_the_sampled_likelihood_approaches_the_enumerated_one():
    network = build_network(TWO_LAYERS, TASK)
    example = TASK.splits.train[0]
    right = {"Even": 0.25 * 0.8 + 0.75 * 0.4, "Odd": 0.25 * 0.2 + 0.75 * 0.6}
    rollouts = Rollouts(model=SimulatedModel(Fair()), task=TASK)
    sampled = await rollouts.log_likelihood(network, example, {}, range(4000), Role.score)
    # Four standard errors of a mean of 4,000 values that differ by 0.4.
    assert math.exp(sampled.log_prob) == pytest.approx(
        right[example.target], abs=4 * 0.2 / 4000**0.5
    )


async def test_every_copy_of_a_layer_is_sampled_by_a_seed_of_its_own():
    wide = NetworkConfig(
        name="wide",
        layers=[
            LayerConfig(name="thoughts", template="hidden", width=5, temperature=1.0),
            LayerConfig(reads=["input", "thoughts"], width=5, join="majority"),
        ],
    )
    seeds = []

    class Listens(SimulatedModel):
        async def send(self, request):
            seeds.append(getattr(request, "seed", None))
            return await super().send(request)

    rollouts = Rollouts(model=Listens(Fair()), task=TASK.without_label_scores())
    network = build_network(wide, rollouts.task)
    example = rollouts.task.splits.train[0]
    await rollouts.log_likelihood(network, example, {}, [7], Role.score)
    assert len(set(seeds)) == len(seeds) == 10


async def test_a_given_hidden_text_leaves_nothing_to_sample_where_labels_are_scored():
    network, example = build_network(TWO_LAYERS, TASK), TASK.splits.train[0]
    rollouts = Rollouts(model=SimulatedModel(Fair()), task=TASK)
    exact = await rollouts.log_likelihood(network, example, {0: "heads"}, [1, 2, 3], Role.score)
    assert exact.log_prob == pytest.approx(math.log(0.8 if example.target == "Even" else 0.2))


async def test_frequencies_are_smoothed_so_that_no_answer_is_impossible():
    class Never:
        def distribution(self, request):
            return {"nothing of the kind": 1.0}

    task = TASK.without_label_scores()
    rollouts = Rollouts(model=SimulatedModel(Never()), task=task)
    layer = build_network(NetworkConfig(), task).writer(0)
    answered = await rollouts.answer(layer, "Item: x", task.splits.train[0], [1, 2, 3])
    assert math.exp(answered.log_prob) == pytest.approx((0 + 1 / len(LABELS)) / (3 + 1))
    assert answered.label_logprobs is None
    network = build_network(NetworkConfig(), task)
    run = await rollouts.log_likelihood(network, task.splits.train[0], {}, [1, 2, 3], Role.score)
    assert run == answered


async def test_equal_seeds_give_equal_trials():
    first, infos = await train(
        trainer(HiddenStepWorld(), "monte_carlo", num_iterations=2), TWO_LAYERS
    )
    again, others = await train(
        trainer(HiddenStepWorld(), "monte_carlo", num_iterations=2), TWO_LAYERS
    )
    assert first.to_dict() == again.to_dict()
    np.testing.assert_equal([i.candidates for i in infos], [i.candidates for i in others])
