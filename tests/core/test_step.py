"""One step against a hand calculation, and the choices that change what a step computes."""

from __future__ import annotations

import math

import anyio
import numpy as np
import pytest

from dln_core.batches import Batch
from dln_core.building import build_network
from dln_core.config import (
    GuideConfig,
    LayerConfig,
    NetworkConfig,
    PhaseConfig,
    PosteriorConfig,
    ProposalConfig,
    ProposalMix,
    SelectionConfig,
    TrainerConfig,
)
from dln_core.llm.simulated import SimulatedModel
from tests.trainers import one_step, trainer_of
from tests.worlds import OneStepWorld, parity_task

TASK = parity_task()
NETWORK = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="think", max_tokens=16),
        LayerConfig(reads=["input", "thoughts"], instruction="Even or Odd"),
    ],
)
EVEN, ODD = TASK.splits.train[0], TASK.splits.train[1]
BATCH = Batch((EVEN, ODD), (TASK.splits.train[2],), ())

# p(hidden text | first prompt): rows are the current prompt and the proposed one.
PRIOR = {"think": {"a": 0.98, "b": 0.01, "c": 0.01}, "ponder": {"a": 0.5, "b": 0.45, "c": 0.05}}
# p(Even | hidden text, second prompt), whatever the number.
ANSWER = {
    "Even or Odd": {"a": 0.8, "b": 0.3, "c": 0.5},
    "Even or Odd?": {"a": 0.6, "b": 0.1, "c": 0.5},
}


class Scripted:
    """Two candidates for each layer; a guide that is told the answer writes "b"."""

    def distribution(self, request):
        text = "\n".join(message.text for message in request.messages)
        if text.endswith("Improved instruction:"):
            is_first = "<<<\nthink\n>>>" in text
            return {"ponder" if is_first else "Even or Odd?": 1.0}
        if "has to arrive at" in text:
            return {"b": 1.0}
        instruction, body = text.split("\n\n")
        if body.endswith("Thoughts:"):
            return PRIOR[instruction]
        p = ANSWER[instruction][body.split("Thoughts: ")[1][0]]
        return {"Even": p, "Odd": 1 - p}


def trainer(world, task=TASK, **settings):
    values = {
        "num_iterations": 4,
        "num_prompts": 1,
        "num_hidden": 3,
        "validate_every": 0,
        "proposal": ProposalConfig(mix=ProposalMix(examples=0.0)),
    }
    model = SimulatedModel(world) if hasattr(world, "distribution") else world
    return trainer_of(model, task, TrainerConfig(**(values | settings)))


async def stepped(world, **settings):
    """Make the first step of the two-layer network."""
    return await one_step(trainer(world, **settings), NETWORK, BATCH)


def by_layer(info, layer):
    return [record for record in info.candidates if record["layer"] == layer]


def log_answers(prompt):
    """log p(right answer | a or b), a row an example."""
    even = np.array([ANSWER[prompt]["a"], ANSWER[prompt]["b"]])
    return np.log(np.array([even, 1 - even]))


def log_priors(prompt):
    return np.log([PRIOR[prompt]["a"], PRIOR[prompt]["b"]])


def softmax(rows):
    exponentials = np.exp(rows)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def divergence(weights):
    """KL(current, proposed) over the labels, expected over the hidden texts of each example."""
    p = np.array([ANSWER["Even or Odd"]["a"], ANSWER["Even or Odd"]["b"]])
    q = np.array([ANSWER["Even or Odd?"]["a"], ANSWER["Even or Odd?"]["b"]])
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float((weights @ each).mean())


async def test_a_step_of_two_layers_computes_what_a_hand_calculation_does():
    """The forward text is "a", hindsight adds "b"; the network says Even, so ODD is wrong."""
    selection = SelectionConfig(trust_factor=0.5, exploration=0.1)
    after, info = await stepped(Scripted(), selection=selection)
    weights = softmax(log_priors("think") + log_answers("Even or Odd"))
    expected = [(weights * log_answers(p)).sum(axis=1).mean() for p in ANSWER]
    second = by_layer(info, "output")
    np.testing.assert_allclose([r["objective"] for r in second], expected)
    penalty = np.array([0.0, 0.5 * divergence(weights)])
    np.testing.assert_allclose([r["reward"] for r in second], expected - penalty)

    first = by_layer(info, "thoughts")
    expected = [(weights * log_priors(p)).sum(axis=1).mean() for p in PRIOR]
    np.testing.assert_allclose([r["objective"] for r in first], expected)
    avoided = [0.1 * math.log(PRIOR[p]["a"]) for p in PRIOR]
    np.testing.assert_allclose([r["reward"] for r in first], np.array(expected) - avoided)

    chosen = [max(records, key=lambda r: r["reward"])["instruction"] for records in (first, second)]
    assert [prompt.instruction for prompt in after.network.prompts()] == chosen
    entropy = -(weights * np.log(weights)).sum(axis=1).mean()
    selected = [r["objective"] for r in (*first, *second) if r["selected"]]
    assert info.metrics["train/elbo"] == pytest.approx(sum(selected) + entropy)
    size = (1 / (weights**2).sum(axis=1)).mean()
    assert info.metrics["train/effective_sample_size_layer1"] == pytest.approx(size)


async def test_true_importance_weights_divide_by_the_density_of_the_guide():
    settings = {
        "guide": GuideConfig(prior=0.0, hindsight=1.0, temperature=1.0, include_forward=False),
        "posterior": PosteriorConfig(use_guide_density=True),
        "selection": SelectionConfig(logprob_scale="sum"),
    }

    class Spread(Scripted):
        def distribution(self, request):
            if "has to arrive at" in request.messages[-1].text:
                return {"a": 0.3, "b": 0.7}
            return super().distribution(request)

    _, info = await stepped(Spread(), num_hidden=40, **settings)
    ratio = np.exp(log_priors("think") + log_answers("Even or Odd")) / [0.3, 0.7]
    evidence = np.log(ratio @ [0.3, 0.7]).mean()
    # 40 draws from the guide come close to the evidence of the two texts that it can write.
    bound = info.metrics["train/importance_weighted_bound"]
    assert bound == pytest.approx(evidence, abs=0.3)


async def test_the_evidence_of_a_candidate_is_never_below_its_bound():
    chosen = {}
    for evidence in (False, True):
        selection = SelectionConfig(logprob_scale="sum", evidence=evidence)
        _, info = await stepped(Scripted(), selection=selection)
        chosen[evidence] = [record["objective"] for record in by_layer(info, "thoughts")]
    weights = softmax(log_priors("think") + log_answers("Even or Odd"))
    bound = (weights * log_priors("think")).sum(axis=1)
    ratio = (weights * np.exp(log_priors("ponder") - log_priors("think"))).sum(axis=1)
    np.testing.assert_allclose(chosen[True], [bound.mean(), (bound + np.log(ratio)).mean()])
    assert chosen[True][0] == pytest.approx(chosen[False][0])
    assert chosen[True][1] > chosen[False][1]


async def test_a_hard_posterior_counts_the_best_sample_alone():
    _, info = await stepped(Scripted(), posterior=PosteriorConfig(hard=True))
    assert info.metrics["train/effective_sample_size_layer1"] == 1.0
    assert info.metrics["train/entropy_layer1"] == 0.0
    best = (log_priors("think") + log_answers("Even or Odd")).argmax(axis=1)
    expected = log_answers("Even or Odd")[[0, 1], best].mean()
    assert by_layer(info, "output")[0]["objective"] == pytest.approx(expected)


async def test_contrast_scores_hidden_texts_among_their_own_samples():
    _, info = await stepped(Scripted(), selection=SelectionConfig(contrastive=True))
    weights = softmax(log_priors("think") + log_answers("Even or Odd"))
    contrast = np.array([log_priors(p) - np.logaddexp.reduce(log_priors(p)) for p in PRIOR])
    expected = (weights @ contrast.T).mean(axis=0)
    np.testing.assert_allclose([r["objective"] for r in by_layer(info, "thoughts")], expected)


async def test_a_hidden_text_that_gives_the_answer_away_weighs_less():
    """Here the answer never depends on the input, so likelihood and giving away cancel out."""
    posterior = PosteriorConfig(mutual_information=1.0)
    _, info = await stepped(Scripted(), posterior=posterior)
    weights = softmax(np.array([log_priors("think"), log_priors("think")]))
    expected = (weights * log_answers("Even or Odd")).sum(axis=1).mean()
    assert by_layer(info, "output")[0]["objective"] == pytest.approx(expected)


async def test_the_guide_can_edit_the_draft_of_the_forward_pass():
    class Edits(Scripted):
        def distribution(self, request):
            text = request.messages[-1].text
            if "Draft of the thoughts: a" in text:
                assert "The next step is told: Even or Odd" in text
                return {"c": 1.0}
            return super().distribution(request)

    guide = GuideConfig(prior=0.0, hindsight=0.0, edit=1.0, include_forward=False)
    _, info = await stepped(Edits(), guide=guide)
    assert info.metrics["train/distinct_hidden_layer1"] == 1.0
    expected = math.log(0.5)
    assert by_layer(info, "output")[0]["objective"] == pytest.approx(expected)


async def test_longer_prompts_pay_for_their_length():
    plain, penalized = SelectionConfig(), SelectionConfig(length_penalty=0.2)
    _, before = await stepped(Scripted(), selection=plain)
    _, after = await stepped(Scripted(), selection=penalized)
    for old, new in zip(before.candidates, after.candidates, strict=True):
        assert new["reward"] == pytest.approx(old["reward"] - 0.2 * len(new["instruction"]) / 4)


async def test_phases_decide_which_layer_changes():
    phases = [PhaseConfig(layers=["thoughts"]), PhaseConfig(layers=["output"])]
    trained = trainer(Scripted(), phases=phases)
    state = await trained.initial_state(build_network(NETWORK, TASK))
    counts = []
    for _ in range(3):
        state, info = await trained.step(state, BATCH)
        counts.append([len(by_layer(info, name)) for name in ("thoughts", "output")])
    assert [count > 1 for count in counts[0]] == [True, False]
    assert [count > 1 for count in counts[1]] == [False, True]
    assert [count > 1 for count in counts[2]] == [True, True]


async def test_training_ends_when_it_has_not_improved_for_long_enough():
    class Helpless:
        def distribution(self, request):
            return {"Even": 0.5, "Odd": 0.5}

    trained = trainer(Helpless(), num_iterations=9, validate_every=1, patience=2)
    state = await trained.initial_state(build_network(NetworkConfig(), TASK))
    while not trained.is_trained_out(state):
        state, _ = await trained.step(state, trained.draw_batch(state))
    assert state.step == 2


async def test_copies_that_answer_share_the_objective():
    config = NetworkConfig(
        name="dln1_ensemble", layers=[LayerConfig(width=3, shares_prompt=False, join="vote")]
    )
    batch = Batch(TASK.splits.train[:8], TASK.splits.train[8:12], ())
    after, info = await one_step(trainer(OneStepWorld(), num_prompts=16), config, batch)
    _, alone = await one_step(trainer(OneStepWorld(), num_prompts=16), NetworkConfig(), batch)
    records = [r for r in info.candidates if r["index"] == 0]
    assert [record["prompt"] for record in records] == [0, 1, 2]
    for record in records:
        assert record["objective"] == pytest.approx(alone.candidates[0]["objective"] / 3)
    assert len(after.network.prompts()) == 3
    assert math.isfinite(info.metrics["train/elbo"])


async def test_three_layers_never_exceed_the_evidence():
    """A chain of two hidden coins, enumerated: log p(y | x) is known exactly."""

    class Coins:
        def distribution(self, request):
            text = request.messages[-1].text
            if text.endswith("Improved instruction:"):
                return {"Even or Odd": 1.0}
            if text.endswith("Plan:"):
                return {"p": 0.3, "q": 0.7}
            if text.endswith("Thoughts:"):
                heads = 0.9 if "Plan: p" in text else 0.2
                return {"h": heads, "t": 1 - heads}
            even = 0.8 if "Thoughts: h" in text else 0.4
            return {"Even": even, "Odd": 1 - even}

    config = NetworkConfig(
        name="dln3",
        layers=[
            LayerConfig(name="plan", template="hidden", instruction="a", output_name="Plan"),
            LayerConfig(name="thoughts", template="hidden", instruction="b"),
            LayerConfig(),
        ],
    )
    heads = 0.3 * 0.9 + 0.7 * 0.2
    even = heads * 0.8 + (1 - heads) * 0.4
    evidence = (math.log(even) + math.log(1 - even)) / 2
    guide = GuideConfig(prior=1.0, hindsight=0.0, include_forward=False)
    selection = SelectionConfig(logprob_scale="sum")
    bounds = []
    for num_hidden in (1, 2, 12):
        trained = trainer(Coins(), guide=guide, selection=selection, num_hidden=num_hidden)
        _, info = await one_step(trained, config, BATCH)
        bounds.append(info.metrics["train/elbo"])
        parts = sum(info.metrics[f"train/elbo_layer{n}"] for n in (1, 2, 3))
        assert parts == pytest.approx(info.metrics["train/elbo"])
    assert all(bound <= evidence + 1e-9 for bound in bounds)
    assert bounds[-1] > bounds[0]


class Waiting:
    """Holds one kind of request back until another kind has arrived, in the order of `waits`."""

    def __init__(self, waits):
        self.inner = SimulatedModel(Scripted())
        self.waits = waits
        self.arrived = {kind: anyio.Event() for pair in waits for kind in pair}

    async def send(self, request):
        text = "\n".join(message.text for message in request.messages)
        layer = "first" if "think" in text or "ponder" in text else "second"
        kind = f"{request.role} {layer}"
        if kind in self.arrived:
            self.arrived[kind].set()
        for held, awaited in self.waits:
            if kind == held:
                with anyio.fail_after(20):
                    await self.arrived[awaited].wait()
        return await self.inner.send(request)


@pytest.mark.parametrize(
    ("held", "awaited"),
    [
        ("posterior first", "proposal second"),
        ("score second", "proposal first"),
        ("proposal first", "score second"),
    ],
)
async def test_what_does_not_depend_on_each_other_is_in_flight_at_once(held, awaited):
    plain = await stepped(Scripted())
    overlapped = await one_step(
        trainer(Waiting([(held, awaited)]), num_iterations=4), NETWORK, BATCH
    )
    assert overlapped == plain
