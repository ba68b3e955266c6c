"""Candidates and proposals that the endpoint refuses for good."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import anyio
import numpy as np
import pytest

from dln_core.building import build_network
from dln_core.config import (
    GuideConfig,
    RacingConfig,
    ScoringConfig,
    SelectionConfig,
    TrainerConfig,
)
from dln_core.errors import RequestError
from dln_core.llm.simulated import SimulatedModel, WithoutScores
from dln_core.montecarlo import Rollouts
from dln_core.types import Prompt, Role
from tests.refusing import BATCH, TASK, Refusing, naming, trainer, without
from tests.trainers import one_step, trainer_of
from tests.worlds import (
    ANSWER_KEY,
    ONE_LAYER,
    TWO_LAYERS,
    HiddenStepWorld,
    OneStepWorld,
)


def scoring(rule):
    """A rule for requests that rank candidates alone."""
    return lambda request, text: request.role == Role.score and rule(request, text)


RACING = RacingConfig(first_examples=2, confidence=0.8)


@pytest.mark.parametrize("racing", [RacingConfig(), RACING], ids=["whole", "racing"])
async def test_a_candidate_that_is_refused_on_an_example_is_out_and_another_wins(racing):
    example = BATCH.ranked[3]
    settings = {"num_prompts": 60, "racing": racing}

    def rule(request, text):
        return ANSWER_KEY in text and naming(example)(request, text)

    plain, _ = await one_step(trainer(SimulatedModel(OneStepWorld()), **settings), ONE_LAYER, BATCH)
    assert plain.network.prompts() == (Prompt(ANSWER_KEY),)
    model = Refusing(OneStepWorld(), scoring(rule))
    after, info = await one_step(trainer(model, **settings), ONE_LAYER, BATCH)
    assert after.network.prompts() != plain.network.prompts()
    out = [record for record in info.candidates if record["instruction"] == ANSWER_KEY]
    assert [(record["reward"], record["selected"]) for record in out] == [(None, False)]
    assert info.failures == {"train/failed_scorings": f"no word of {example.input}"}
    assert info.metrics["train/failed_scorings"] == 1.0


async def test_a_candidate_that_is_out_is_never_compared_on_other_examples():
    """The numbers of hidden texts differ between examples, and with them the shapes of scores."""
    selection = SelectionConfig(logprob_scale="sum", evidence=True)

    def rule(request, text):
        return "weather" in text and naming(BATCH.ranked[0])(request, text)

    settings = {"selection": selection, "guide": GuideConfig(temperature=1.0)}
    model = Refusing(HiddenStepWorld(), scoring(rule))
    _, info = await one_step(trainer(model, **settings), TWO_LAYERS, BATCH)
    weather = [r for r in info.candidates if "weather" in r["instruction"]]
    assert {(r["reward"], r["num_examples"]) for r in weather} == {(None, 0)}


@pytest.mark.parametrize("racing", [RacingConfig(), RACING], ids=["whole", "racing"])
async def test_an_example_on_which_the_current_prompt_is_refused_ranks_nothing(racing):
    lost = BATCH.ranked[0]
    settings = {"racing": racing}
    model = Refusing(OneStepWorld(), scoring(naming(lost)))
    after, info = await one_step(trainer(model, **settings), ONE_LAYER, BATCH)
    assert after.network.prompts() == (Prompt(ANSWER_KEY),)
    assert info.candidates[0]["num_examples"] == 5
    assert info.metrics["train/failed_scorings"] == len(info.candidates)
    if racing is RACING:
        return
    _, expected = await one_step(trainer(SimulatedModel(OneStepWorld())), ONE_LAYER, without(lost))
    assert info.candidates == expected.candidates


async def test_one_prompt_that_cannot_be_ranked_stays_and_the_others_are_trained():
    def rule(request, text):
        return text.split("Thoughts:")[-1].strip() != "" and "Label:" not in text

    first = build_network(TWO_LAYERS, TASK).prompts()[0]
    model = Refusing(HiddenStepWorld(), scoring(rule))
    after, info = await one_step(trainer(model), TWO_LAYERS, BATCH)
    assert after.network.prompts()[0] == first
    seen = {
        layer: {r["num_examples"] for r in info.candidates if r["layer"] == layer}
        for layer in ("thoughts", "output")
    }
    assert seen == {"thoughts": {0}, "output": {6}}
    assert "train/objective_layer1" not in info.metrics
    assert info.metrics["train/objective_layer2"] < 0


@pytest.mark.parametrize(
    ("network", "world"), [(ONE_LAYER, OneStepWorld()), (TWO_LAYERS, HiddenStepWorld())]
)
async def test_where_no_prompt_can_be_ranked_the_step_ends_with_the_first_reason(network, world):
    model = Refusing(world, scoring(lambda request, text: "not scored here"))
    with pytest.raises(RequestError, match="not scored here"):
        await one_step(trainer(model), network, BATCH)


async def test_refused_proposals_are_counted_and_the_others_stay():
    def rule(request, text):
        return request.role == Role.proposal and request.seed % 2 and "proposes badly"

    _, info = await one_step(trainer(Refusing(OneStepWorld(), rule)), ONE_LAYER, BATCH)
    num_refused = info.metrics["train/failed_proposals"]
    assert 0 < num_refused < 24
    assert info.metrics["train/refused_proposals"] >= num_refused
    assert info.failures == {"train/failed_proposals": "proposes badly"}
    assert len(info.candidates) > 1


class Shuffled:
    """Answers in an order that depends on a seed."""

    def __init__(self, inner, seed):
        self.inner, self.rng = inner, np.random.default_rng(seed)

    async def send(self, request):
        for _ in range(int(self.rng.integers(8))):
            await anyio.lowlevel.checkpoint()
        return await self.inner.send(request)


async def test_what_is_lost_does_not_depend_on_the_order_of_completion():
    """A fifth of all requests is refused, each with its own reason."""

    def rule(request, text):
        digest = hashlib.sha256(f"{request} {text}".encode()).hexdigest()
        return digest[:8] if int(digest, 16) % 5 == 0 else ""

    steps = []
    for seed in range(3):
        model = Shuffled(Refusing(HiddenStepWorld(), rule), seed)
        steps.append(await one_step(trainer(model, racing=RACING), TWO_LAYERS, BATCH))
    assert steps[0] == steps[1] == steps[2]
    lost = {"train/failed", "train/failed_samples", "train/failed_scorings"}
    assert lost <= steps[0][1].failures.keys()


class Even:
    """Answers Even whatever it is asked."""

    def distribution(self, request):
        return {"Even": 1.0}


async def test_a_refused_sample_counts_as_one_without_the_right_answer():
    task = TASK.without_label_scores()
    network = build_network(ONE_LAYER, task)
    even = next(example for example in task.splits.train if example.target == "Even")
    seen = []

    def rule(request, text):
        seen.append(text)
        return len(seen) in (2, 3) and "filtered"

    rollouts = Rollouts(model=Refusing(Even(), rule), task=task)
    estimate = await rollouts.log_likelihood(network, even, {}, range(8), Role.score)
    assert math.exp(estimate.log_prob) == pytest.approx((6 + 0.5) / (8 + 1))
    assert len(estimate.failures) == 2
    everything = Rollouts(model=Refusing(Even(), naming(even)), task=task)
    with pytest.raises(RequestError, match="no word of"):
        await everything.log_likelihood(network, even, {}, range(8), Role.score)


async def test_training_without_log_probs_survives_refusals():
    def rule(request, text):
        return hashlib.sha256(f"{request}".encode()).digest()[0] < 8 and "filtered"

    trained = trainer_of(
        Refusing(WithoutScores(SimulatedModel(HiddenStepWorld()), "monte_carlo"), rule),
        TASK.without_label_scores(),
        TrainerConfig(num_iterations=4, num_prompts=8, num_hidden=4, validate_every=0),
        scoring=ScoringConfig(num_samples=4),
        has_logprobs=False,
    )
    batch = replace(
        BATCH,
        **{
            name: tuple(replace(e, labels=()) for e in getattr(BATCH, name))
            for name in ("ranked", "cases", "rest")
        },
    )
    _, info = await one_step(trained, TWO_LAYERS, batch)
    assert info.failures.keys() >= {"train/failed_scorings"}
    assert all(math.isfinite(value) for value in info.metrics.values())
