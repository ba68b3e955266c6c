"""What trials really ask for, beside what their estimates say."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.config import (
    CacheConfig,
    DataConfig,
    NetworkConfig,
    ProposalConfig,
    ProposalMix,
    RacingConfig,
    ScoringConfig,
    SelectionConfig,
    TrialSettings,
)
from dln_core.llm.base import Choice, LanguageModel, Request, Response, ScoreRequest
from dln_core.llm.simulated import WithoutScores
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trial import Services, Trial
from dln_core.types import Usage
from orchestrator.planning.call_costs import measure
from orchestrator.planning.estimate import estimate_trial, trial_costs
from orchestrator.planning.plan import make_plan
from orchestrator.settings.schema import RunConfig
from tests.orchestrator.planning.estimate_toys import (
    ENSEMBLE,
    NETWORKS,
    SIMULATED,
    SIZE,
    TASK,
    TRAINER,
    settings,
)


class EndlessThoughts:
    """A model of which no two samples are equal; shorter texts are more probable."""

    async def send(self, request: Request) -> Response:
        if isinstance(request, ScoreRequest):
            choices = tuple(Choice(text, (-float(len(text)),)) for text in request.targets)
            return Response(choices, Usage())
        if request.max_tokens < 16:
            return Response((Choice("Even"),), Usage())
        asked = repr((request.seed, request.messages)).encode()
        return Response((Choice(f"Thought {hashlib.sha256(asked).hexdigest()}"),), Usage())


@pytest.mark.parametrize("rung", ["score", "label", "monte_carlo"])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
async def test_where_nothing_is_equal_the_calls_are_exact(
    network: NetworkConfig, rung: str, tmp_path: Path
) -> None:
    if network is ENSEMBLE and rung == "monte_carlo":
        network = replace(network, layers=[replace(network.layers[0], join="majority")])
    # Worked examples alone: an instruction may be refused, and then ranks nothing.
    proposal = ProposalConfig(num_cases=30, mix=ProposalMix(rewrite=0.0, examples=1.0))
    trainer = replace(
        TRAINER, num_iterations=1, selection=SelectionConfig(memory=0), proposal=proposal
    )
    chosen = settings(network, trainer=trainer, scoring=ScoringConfig(rung=rung, num_samples=3))
    model: LanguageModel = EndlessThoughts()
    if rung == "monte_carlo":
        model = WithoutScores(model, rung)
    costs = trial_costs(chosen, TASK, SIZE)
    calls = await calls_by_role(chosen, tmp_path, task=TASK, model=model)
    passes = costs.one_pass().calls
    samples = costs.hidden_samples().calls + costs.weighing().calls
    expected = {
        "dev": 2 * 10 * passes,
        "test": 20 * passes,
        "forward": costs.num_seen * passes,
        "posterior": costs.num_seen * samples,
        "score": costs.batch_size * costs.ranking().calls,
    }
    assert calls == {role: number for role, number in expected.items() if number}
    assert sum(calls.values()) == estimate_trial(chosen, TASK, SIZE).total.calls


@pytest.mark.parametrize("rung", ["auto", "monte_carlo"])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
async def test_a_trial_asks_for_what_its_estimate_says(
    network: NetworkConfig, rung: str, tmp_path: Path
) -> None:
    if network is ENSEMBLE and rung == "monte_carlo":
        network = replace(network, layers=[replace(network.layers[0], join="majority")])
    run = RunConfig(
        network=network,
        trainer=replace(TRAINER, racing=RacingConfig(first_examples=2)),
        data=DataConfig(max_dev=10, max_test=20),
        llm=SIMULATED,
        scoring=ScoringConfig(rung=rung, num_samples=2),
        calibration="empirical",
    )
    [trial] = make_plan([run]).trials
    calls = await calls_by_role(trial.settings, tmp_path)
    task = load_task(run.task, run.data)
    costs = trial_costs(trial.settings, task, measure(task))
    assert calls["forward"] == 3 * costs.num_seen * costs.one_pass().calls
    assert calls["proposal"] == 3 * costs.proposals().calls
    low, high = trial.estimate.low.cost.calls, trial.estimate.high.cost.calls
    assert low <= sum(calls.values()) <= high


async def calls_by_role(
    chosen: TrialSettings,
    folder: Path,
    *,
    task: Task | None = None,
    model: LanguageModel | None = None,
) -> Counter[str]:
    """Run a trial to its end and count what it asked for, without the probe of the endpoint."""
    services = Services(cache=CacheConfig(mode="off", dir=str(folder)), store="estimate")
    calls: Counter[str] = Counter()
    async with Trial.open(chosen, services, task=task, model=model) as trial:
        state, done = None, False
        while not done:
            advance = await trial.advance(state)
            state, done = advance.state, advance.done
            calls.update({role: used["calls"] for role, used in advance.event["usage"].items()})
    return calls
