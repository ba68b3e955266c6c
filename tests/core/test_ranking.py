"""Ranking candidates: the label prior, racing, and requests that are too long."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dln_core.batches import Batch
from dln_core.building import build_network
from dln_core.config import NetworkConfig, ProposalConfig, ProposalMix, RacingConfig, TrainerConfig
from dln_core.errors import ContextLengthError
from dln_core.graph import Slot
from dln_core.llm.simulated import SimulatedModel
from dln_core.types import Demonstration, Prompt
from tests.trainers import one_step, trainer_of
from tests.worlds import ANSWER_KEY, OneStepWorld, parity_task

TASK = parity_task()
ONE = NetworkConfig()


def trainer(model, calibrates=False, **settings):
    values = {"num_iterations": 4, "num_prompts": 1, "validate_every": 0}
    proposal = ProposalConfig(mix=ProposalMix(examples=0.0))
    config = TrainerConfig(**(values | {"proposal": proposal} | settings))
    return trainer_of(model, TASK, config, calibrates=calibrates)


class Biased(OneStepWorld):
    """Knows the parity under any prompt, but leans to Even so much that it always says it."""

    def distribution(self, request):
        text = "\n".join(message.text for message in request.messages)
        if text.endswith("Improved instruction:"):
            return {"Even or Odd, please": 1.0}
        number = int(text.split("the number ")[-1].split()[0])
        even = 0.95 if number % 2 == 0 else 0.75
        return {"Even": even, "Odd": 1 - even}


async def test_dividing_out_the_label_prior_brings_out_what_the_model_knows():
    plain = await trainer(SimulatedModel(Biased())).initial_state(build_network(ONE, TASK))
    trained = trainer(SimulatedModel(Biased()), calibrates=True)
    state = await trained.initial_state(build_network(ONE, TASK))
    assert plain.best.dev_accuracy == 0.5
    assert state.best.dev_accuracy == 1.0
    bias = state.best.network.label_bias
    assert bias["Even"] > math.log(1.5)
    assert bias["Odd"] < math.log(0.5)
    _, info = await trained.step(state, Batch(TASK.splits.train[:8], TASK.splits.train[8:9], ()))
    # Without its prior the right label always has the greater share.
    assert info.metrics["train/objective"] > math.log(0.5)


async def test_candidates_that_are_clearly_behind_are_not_scored_to_the_end():
    model, batch = (
        SimulatedModel(OneStepWorld()),
        Batch(TASK.splits.train[:32], TASK.splits.train[32:40], ()),
    )
    whole, info = await one_step(trainer(model, num_prompts=60), ONE, batch)
    racing = RacingConfig(first_examples=8, confidence=0.9)
    raced, spared = await one_step(trainer(model, num_prompts=60, racing=racing), ONE, batch)
    assert raced.network == whole.network
    assert info.metrics["train/spared_scorings"] == 0
    assert spared.metrics["train/spared_scorings"] > 0
    examples = [record["num_examples"] for record in spared.candidates]
    assert examples[0] == 32
    assert sum(32 - count for count in examples) == spared.metrics["train/spared_scorings"]
    winner = next(record for record in spared.candidates if record["selected"])
    assert winner["num_examples"] == 32


class Short:
    """Refuses requests that hold a text as longer than its context."""

    def __init__(self, refused):
        self.inner = SimulatedModel(OneStepWorld())
        self.refused = refused

    async def send(self, request):
        if self.refused in request.messages[0].text.split("\n\n")[0]:
            raise ContextLengthError("too long")
        return await self.inner.send(request)


async def test_a_candidate_too_long_for_the_context_is_set_aside():
    batch = Batch(TASK.splits.train[:8], TASK.splits.train[8:12], ())
    after, info = await one_step(trainer(Short(ANSWER_KEY), num_prompts=60), ONE, batch)
    assert after.network.prompt(Slot(0, 0)) != Prompt(ANSWER_KEY)
    long = [r for r in info.candidates if r["instruction"] == ANSWER_KEY]
    assert [(r["reward"], r["selected"]) for r in long] == [(None, False)]


async def test_a_network_whose_own_prompt_is_too_long_fails():
    batch = Batch(TASK.splits.train[:8], TASK.splits.train[8:12], ())
    with pytest.raises(ContextLengthError):
        await one_step(trainer(Short(TASK.instruction)), ONE, batch)


async def test_labels_of_a_candidate_are_calibrated_by_the_batch_alone():
    targets = [replace(example, target="Even") for example in TASK.splits.train[:6]]
    trained = trainer(SimulatedModel(Biased()), calibrates=True)
    batch = Batch(tuple(targets), TASK.splits.train[8:9], ())
    _, info = await one_step(trained, ONE, batch)
    _, other = await one_step(trained, ONE, replace(batch, ranked=TASK.splits.train[:6]))
    # The prior is estimated without the answers: other answers, other objective, same divergence.
    assert info.candidates[0]["objective"] != other.candidates[0]["objective"]
    assert info.candidates[1]["trust_region_kl"] == other.candidates[1]["trust_region_kl"]


async def test_where_no_example_is_left_to_rank_on_nothing_is_reported_as_measured():
    shown = tuple(Demonstration(f"Item: {e.input}", e.target) for e in TASK.splits.train[:8])
    trained = trainer(SimulatedModel(OneStepWorld()), num_prompts=4)
    state = await trained.initial_state(
        build_network(ONE, TASK).with_prompt(Slot(0, 0), Prompt("Even or Odd", shown))
    )
    batch = Batch(TASK.splits.train[:8], TASK.splits.train[8:12], ())
    after, info = await trained.step(state, batch)
    assert after.network.prompts() == state.network.prompts()
    assert not info.metrics.keys() & {"train/elbo", "train/objective", "train/objective_layer1"}
    assert {record["objective"] for record in info.candidates} == {None}
