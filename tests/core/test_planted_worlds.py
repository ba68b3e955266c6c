"""Training learns what there is to learn, and the statistics say so when there is nothing.

Every world is trained over ten seeds, each with numbers of its own, so that the test items pooled
over the seeds are all different.  The trainer sees a world through its model's answers alone.
Settings are those of the ``paper`` preset, reduced; what else differs is said where it is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean

import pytest
import yaml

from dln_core.building import build_network
from dln_core.config import NetworkConfig, TrainerConfig, TrialSettings
from dln_core.config.reading import config_from
from dln_core.evaluation import evaluate
from dln_core.llm.simulated import SimulatedModel
from dln_core.stats import mcnemar_exact, wilson_interval
from dln_core.types import Role
from orchestrator.comparison import Comparison, SweepResults
from orchestrator.planning.plan import PlannedTrial
from orchestrator.summary import TrialSummary
from orchestrator.terminal.table import headings, result_cells
from tests.trainers import trainer_of
from tests.worlds import (
    HIDDEN_STEP,
    NO_PROMPT_HELPS,
    ONE_LAYER,
    SEVERAL_SENTENCES,
    THREE_LAYERS,
    TWO_HIDDEN_STEPS,
    TWO_LAYERS,
    Planted,
    best_prompts,
    parity_task,
)

SEEDS = range(10)
PRESETS = Path(__file__).parents[2] / "conf" / "trainer"
PAPER = yaml.safe_load((PRESETS / "paper.yaml").read_text())
SIZES = {
    "num_iterations": 10,
    "batch_size": 8,
    "num_prompts": 10,
    "num_hidden": 4,
    "validate_every": 1,
    "proposal": PAPER["proposal"] | {"num_cases": 6},
}
# From parents that are drawn evenly out of several remembered prompts, most proposals build on a
# worse one than the current; with the best alone, ten steps of few candidates suffice.
SELECTION = PAPER["selection"] | {"memory": 1}
# Per token, hidden texts of a sentence are all about equally probable, so the first of two hidden
# layers would be given weights that say nothing; and with the prior among the weights, the idle
# texts that the initial prompts make probable outweigh those that lead to the answer.
DEEP = {
    "num_iterations": 5,
    "selection": SELECTION | {"logprob_scale": "sum"},
    "posterior": PAPER["posterior"] | {"use_prior": False},
}


@dataclass(frozen=True)
class Trial:
    """One network in one world with the numbers of one seed."""

    world: Planted
    layers: NetworkConfig
    seed: int

    @cached_property
    def task(self):
        return parity_task(num_train=80, num_dev=30, num_test=60, first=1000 * (self.seed + 1))

    @cached_property
    def model(self):
        return SimulatedModel(self.world)

    @cached_property
    def first(self):
        return build_network(self.layers, self.task)

    async def trained(self, **changed):
        """The network that training returns, under the preset with some settings replaced."""
        config = config_from(TrainerConfig, PAPER | SIZES | {"selection": SELECTION} | changed)
        trainer = trainer_of(self.model, self.task, config, self.seed)
        state = await trainer.initial_state(self.first)
        # No later network could take the place of one that makes no mistake on dev.
        while not trainer.is_trained_out(state) and state.best.dev_accuracy < 1.0:
            state, _ = await trainer.step(state, trainer.draw_batch(state))
        return state.best.network

    async def test(self, network):
        """Whether each test item is answered rightly."""
        test = self.task.splits.test
        predictions = await evaluate(network, self.model, self.task, test, role=Role.test)
        return [prediction.is_correct for prediction in predictions]


async def before_and_after(world, layers, **changed):
    """Before and after training: whether each test item of each seed is answered rightly."""
    trials = [Trial(world, layers, seed) for seed in SEEDS]
    before = [await trial.test(trial.first) for trial in trials]
    after = [await trial.test(await trial.trained(**changed)) for trial in trials]
    return before, after


def pooled(correct):
    return [is_correct for seed in correct for is_correct in seed]


def table_row(before, after):
    """The row of the report for one trial with these test items."""
    rows = []
    for correct in (before, after):
        low, high = wilson_interval(sum(correct), len(correct))
        rows.append({"accuracy": sum(correct) / len(correct), "low": low, "high": high})
    trial = PlannedTrial(trial_id="0", name="parity", settings=TrialSettings(), varying={})
    comparison = Comparison(before=rows[0], p_value=mcnemar_exact(before, after), references={})
    summary = TrialSummary(status="finished", test=rows[1])
    results = SweepResults((trial,), {"0": summary}, {"0": comparison}, ())
    return dict(zip(headings(results), result_cells(results)[0], strict=True))


@pytest.mark.parametrize(
    ("world", "layers"),
    [
        (SEVERAL_SENTENCES, ONE_LAYER),
        (HIDDEN_STEP, TWO_LAYERS),
        (TWO_HIDDEN_STEPS, THREE_LAYERS),
    ],
)
async def test_planted_prompts_answer_everything_and_a_tenth_of_the_pool_is_of_use(world, layers):
    trial = Trial(world, layers, seed=0)
    assert all(await trial.test(best_prompts(world, trial.first)))
    assert not all(await trial.test(trial.first))
    assert len(world.pool) >= 10 * sum(map(len, world.useful))


@pytest.mark.slow
async def test_one_layer_collects_several_useful_sentences():
    """At least 95 % of the best reachable accuracy, in at least nine of ten seeds."""
    before, after = await before_and_after(
        SEVERAL_SENTENCES, ONE_LAYER, num_prompts=20, batch_size=16
    )
    reached = []
    for seed, correct in zip(SEEDS, after, strict=True):
        trial = Trial(SEVERAL_SENTENCES, ONE_LAYER, seed)
        best = await trial.test(best_prompts(trial.world, trial.first))
        reached.append(sum(correct) >= 0.95 * sum(best))
    assert sum(reached) >= 9
    assert "not significant" not in table_row(pooled(before), pooled(after))["p, exact paired"]


@pytest.mark.slow
async def test_two_layers_learn_the_hidden_step_that_no_prompt_of_one_layer_makes():
    """McNemar's test over the test items of all seeds together."""
    _, one = await before_and_after(HIDDEN_STEP, ONE_LAYER)
    _, two = await before_and_after(HIDDEN_STEP, TWO_LAYERS)
    assert mean(pooled(two)) > mean(pooled(one))
    assert mcnemar_exact(pooled(one), pooled(two)) < 0.01


@pytest.mark.slow
async def test_three_layers_learn_the_two_hidden_steps_that_two_layers_cannot_make():
    """McNemar's test over the test items of all seeds together."""
    _, two = await before_and_after(TWO_HIDDEN_STEPS, TWO_LAYERS, **DEEP)
    _, three = await before_and_after(TWO_HIDDEN_STEPS, THREE_LAYERS, **DEEP)
    assert mean(pooled(three)) > mean(pooled(two))
    assert mcnemar_exact(pooled(two), pooled(three)) < 0.01


@pytest.mark.slow
async def test_where_no_prompt_helps_the_report_calls_the_difference_not_significant():
    """One test over the test items of all seeds together, and one for each seed.

    Prompts do change answers here, so dev accuracy rises by selection: only the test knows better.
    """
    before, after = await before_and_after(NO_PROMPT_HELPS, ONE_LAYER)
    assert pooled(before) != pooled(after)
    assert mcnemar_exact(pooled(before), pooled(after)) >= 0.05
    row = table_row(pooled(before), pooled(after))
    assert row["p, exact paired"].endswith(" not significant")
    by_seed = [mcnemar_exact(*pair) for pair in zip(before, after, strict=True)]
    # Of ten true null hypotheses two or more are rejected at 5 % in fewer than one case of eleven.
    assert sum(p < 0.05 for p in by_seed) <= 1
