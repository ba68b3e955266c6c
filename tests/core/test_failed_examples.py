"""Examples that the endpoint refuses for good: what they cost, and what they leave alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dln_core.baselines import run as baselines
from dln_core.building import build_network
from dln_core.calibration import calibrated
from dln_core.config import (
    CacheConfig,
    DataConfig,
    GuideConfig,
    PosteriorConfig,
    SelectionConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.config.baselines import DEFAULT_BASELINES
from dln_core.errors import ContextLengthError, RequestError, UnreachableError
from dln_core.evaluation import accuracy, evaluate
from dln_core.failures import MAX_REASON_CHARS, reason
from dln_core.graph import Slot
from dln_core.guide import Guide
from dln_core.inference import observe
from dln_core.llm.base import ScoreRequest
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import Connection
from dln_core.llm.simulated import InContextReader, SimulatedModel
from dln_core.scoring import Scorer
from dln_core.tasks import load_task
from dln_core.trial import Services, Trial
from dln_core.types import Prompt, Role
from dln_core.weighing import LogprobWeigher
from tests.refusing import BATCH, TASK, TRAIN, Refusing, naming, trainer, without
from tests.trainers import one_step
from tests.worlds import (
    ANSWER_KEY,
    ONE_LAYER,
    THREE_LAYERS,
    TWO_HIDDEN_STEPS,
    TWO_LAYERS,
    HiddenStepWorld,
    OneStepWorld,
)


def counted(info):
    return {name: value for name, value in info.metrics.items() if "failed" in name}


async def run(model, examples=TASK.splits.test, role=Role.test):
    network = build_network(ONE_LAYER, TASK).with_prompt(Slot(0, 0), Prompt(ANSWER_KEY))
    return await evaluate(network, model, TASK, examples, role=role)


async def test_a_refused_item_is_wrong_and_says_why_and_the_rest_is_unharmed():
    test = TASK.splits.test
    plain = await run(SimulatedModel(OneStepWorld()))
    predictions = await run(Refusing(OneStepWorld(), naming(test[3], test[50])))
    lost = [row for row, one in enumerate(predictions) if one.failure is not None]
    assert lost == [3, 50]
    for row, (before, after) in enumerate(zip(plain, predictions, strict=True)):
        if row in lost:
            refused = {"prediction": "", "hidden": [], "correct": False}
            why = {"failure": f"no word of {test[row].input}"}
            assert after.to_dict() == before.to_dict() | refused | why
        else:
            assert after.to_dict() == before.to_dict()
    assert accuracy(predictions) == pytest.approx(accuracy(plain) - 2 / len(test))


async def test_an_evaluation_of_which_nothing_is_left_ends_with_the_first_reason():
    with pytest.raises(ContextLengthError, match=f"no word of {TASK.splits.test[0].input}"):
        await run(Refusing(OneStepWorld(), naming(*TASK.splits.test), ContextLengthError))


async def test_any_other_error_ends_an_evaluation():
    with pytest.raises(UnreachableError):
        await run(Refusing(OneStepWorld(), naming(TASK.splits.test[3]), UnreachableError))


def test_a_reason_is_one_line_of_bounded_length():
    assert reason(RequestError("no\n  more")) == "no more"
    assert reason(RequestError()) == "RequestError"
    assert len(reason(RequestError("x" * 1000))) == MAX_REASON_CHARS


@pytest.mark.parametrize(
    ("network", "world"), [(ONE_LAYER, OneStepWorld()), (TWO_LAYERS, HiddenStepWorld())]
)
@pytest.mark.parametrize("lost", [BATCH.ranked[2], BATCH.cases[1]], ids=["ranked", "case"])
async def test_a_step_goes_on_as_if_a_refused_example_were_not_in_its_batch(network, world, lost):
    whole = await one_step(trainer(Refusing(world, naming(lost))), network, BATCH)
    after, expected = await one_step(trainer(SimulatedModel(world)), network, without(lost))
    assert whole[0] == after
    assert whole[1].candidates == expected.candidates
    assert whole[1].metrics == expected.metrics | {"train/failed": 1.0}
    assert whole[1].failures == {"train/failed": f"no word of {lost.input}"}


async def test_a_step_without_a_ranked_example_ends_with_the_first_reason():
    model = Refusing(OneStepWorld(), naming(*BATCH.ranked))
    with pytest.raises(RequestError, match=BATCH.ranked[0].input):
        await one_step(trainer(model), ONE_LAYER, BATCH)


async def test_a_refused_draw_is_left_out():
    """Only the prior is left of the guide, which is then asked half as often."""
    model = Refusing(HiddenStepWorld(), lambda request, text: "has to arrive at" in text)
    guide = GuideConfig(include_forward=False)
    _, info = await one_step(trainer(model, guide=guide), TWO_LAYERS, BATCH)
    assert counted(info) == {"train/failed_samples": 2.0 * 10}
    assert info.failures == {"train/failed_samples": "filtered"}
    assert info.metrics["train/distinct_hidden_layer1"] <= 2


async def test_without_any_draw_the_text_of_the_forward_pass_stands():
    def rule(request, text):
        return request.role == Role.posterior and not isinstance(request, ScoreRequest)

    guide = GuideConfig(include_forward=False)
    _, info = await one_step(
        trainer(Refusing(HiddenStepWorld(), rule), guide=guide), TWO_LAYERS, BATCH
    )
    assert info.metrics["train/distinct_hidden_layer1"] == 1.0
    assert info.metrics["train/entropy_layer1"] == 0.0


async def sampled(model):
    """The guide's samples of a hidden text for a batch that another model ran forward."""
    network, examples = build_network(TWO_LAYERS, TASK), BATCH.ranked
    predictions = await evaluate(
        network, SimulatedModel(HiddenStepWorld()), TASK, examples, role=Role.forward
    )
    mixture, posterior = GuideConfig(temperature=1.0), PosteriorConfig()
    weigher = LogprobWeigher(
        scorer=Scorer(model, SelectionConfig()), config=posterior, mixture=mixture
    )
    guide = Guide(model=model, weigher=weigher, mixture=mixture, posterior=posterior, num_hidden=8)
    observed = observe(network, predictions, (13, 1), 0)
    rngs = [np.random.default_rng(row) for row in range(len(observed))]
    return await guide.sample(network, 0, observed, rngs)


@pytest.mark.parametrize("part", ["reader", "prior"])
async def test_a_text_that_cannot_be_weighed_is_left_out_and_the_others_keep_their_weights(part):
    """The reader is shown one text a request; the prior scores all of them in one."""

    def rule(request, text):
        if request.role != Role.posterior or not isinstance(request, ScoreRequest):
            return False
        return "Thoughts: hm" in text if part == "reader" else "hm" in request.targets

    plain = await sampled(SimulatedModel(HiddenStepWorld()))
    lost = await sampled(Refusing(HiddenStepWorld(), rule))
    num_lost = sum("hm" in texts for texts in plain.samples.texts)
    assert 0 < num_lost == len(lost.failures)
    assert lost.rows == plain.rows
    for row, texts in enumerate(plain.samples.texts):
        kept = [position for position, text in enumerate(texts) if text != "hm"]
        assert lost.samples.texts[row] == tuple(texts[position] for position in kept)
        np.testing.assert_allclose(
            lost.samples.log_weights[row, : len(kept)], plain.samples.log_weights[row, kept]
        )
        assert lost.samples.row_weights(row).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("lost", [BATCH.ranked[2], BATCH.cases[1]], ids=["ranked", "case"])
async def test_an_example_without_any_weighed_text_leaves_the_step(lost):
    def rule(request, text):
        is_weighing = isinstance(request, ScoreRequest) and request.role == Role.posterior
        return is_weighing and naming(lost)(request, text)

    _, info = await one_step(trainer(Refusing(HiddenStepWorld(), rule)), TWO_LAYERS, BATCH)
    num_ranked = 6 - (lost in BATCH.ranked)
    assert {record["num_examples"] for record in info.candidates} == {num_ranked}
    assert info.metrics["train/failed"] == 1.0
    assert info.failures["train/failed"] == f"no word of {lost.input}"
    assert math.isfinite(info.metrics["train/elbo"])


async def test_an_example_lost_at_one_layer_leaves_the_samples_of_the_others_too():
    lost = BATCH.ranked[2]

    def rule(request, text):
        is_plan = isinstance(request, ScoreRequest) and request.messages[-1].text.endswith("Plan:")
        return is_plan and request.role == Role.posterior and naming(lost)(request, text)

    model = Refusing(TWO_HIDDEN_STEPS, rule)
    _, info = await one_step(trainer(model), THREE_LAYERS, BATCH)
    assert {record["num_examples"] for record in info.candidates} == {5}
    assert info.metrics["train/failed"] == 1.0
    assert math.isfinite(info.metrics["train/elbo"])


async def test_where_no_text_can_be_weighed_the_step_ends_with_the_first_reason():
    def rule(request, text):
        is_weighing = isinstance(request, ScoreRequest) and request.role == Role.posterior
        return is_weighing and naming(*BATCH.ranked, *BATCH.cases)(request, text)

    with pytest.raises(RequestError, match=f"no word of {BATCH.ranked[0].input}"):
        await one_step(trainer(Refusing(HiddenStepWorld(), rule)), TWO_LAYERS, BATCH)


async def test_refused_inputs_do_not_enter_the_label_prior():
    network, lost = build_network(ONE_LAYER, TASK), TRAIN[1]
    rest = [example for example in TRAIN[:9] if example != lost]
    model = Refusing(OneStepWorld(), naming(lost))
    found, refusals = await calibrated(network, model, TRAIN[:9], Role.dev)
    expected, none = await calibrated(network, SimulatedModel(OneStepWorld()), rest, Role.dev)
    assert found == expected
    assert ([str(error) for error in refusals], none) == ([f"no word of {lost.input}"], [])
    with pytest.raises(RequestError, match=f"no word of {lost.input}"):
        await calibrated(network, model, [lost], Role.dev)


async def test_a_trial_records_what_was_lost_and_why(tmp_path):
    settings = TrialSettings(
        task=TaskConfig(name="triage"),
        data=DataConfig(max_dev=12, max_test=10),
        network=ONE_LAYER,
        trainer=TrainerConfig(num_iterations=1, batch_size=6, num_prompts=4),
    )
    splits = load_task(settings.task, settings.data).splits
    lost = (splits.dev[2], splits.dev[5], splits.test[7])
    services = Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))
    model = Refusing(InContextReader(), naming(*lost))
    events, state = [], None
    async with Trial.open(settings, services, model=model) as trial:
        while not events or events[-1]["kind"] != "finish":
            advance = await trial.advance(state)
            state, event = json.loads(json.dumps([advance.state, advance.event]))
            events.append(event)
    start, step, finish = events
    for event in (start, step):
        assert event["metrics"]["dev/failed"] == 2.0
        assert event["failures"] == {"dev/failed": f"no word of {lost[0].input}"}
    assert finish["metrics"]["test/failed"] == 1.0
    assert finish["failures"] == {"test/failed": f"no word of {lost[2].input}"}
    assert finish["test"]["num_items"] == 10
    why = {item["id"]: item["failure"] for item in finish["predictions"] if "failure" in item}
    assert why == {lost[2].id: f"no word of {lost[2].input}"}


async def test_reference_points_count_refused_items_as_wrong():
    lost = TASK.splits.test[7]
    model = Refusing(OneStepWorld(), naming(lost, TRAIN[1]))
    connection = Connection(model, Route("chat", "score"))
    measured, missing = await baselines._measure(TASK, connection, DEFAULT_BASELINES)
    assert not missing
    rows = {row["baseline"]: row for row in measured}
    assert "failures" not in rows["majority"]
    for name in ("initial", "initial_calibrated", "few_shot"):
        items = {item["id"]: item for item in rows[name]["predictions"]}
        assert items[lost.id]["correct"] is False
        assert [item["id"] for item in items.values() if "failure" in item] == [lost.id]
        assert rows[name]["failures"]["test/failed"] == f"no word of {lost.input}"
    assert "train/failed_calibration" in rows["initial_calibrated"]["failures"]
