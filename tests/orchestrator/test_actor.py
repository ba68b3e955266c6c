from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import LLMError
from dln_core.trial import Services
from orchestrator.actor import TrialActor
from orchestrator.resuming import Begun


def services_of(plan):
    return Services(limits=plan.run.limits, cache=plan.run.cache, store="toy")


def test_actors_carry_neither_mlflow_nor_hydra():
    code = (
        "import sys, orchestrator.actor; print({'mlflow', 'hydra', 'omegaconf'} & {*sys.modules})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


async def test_a_trial_is_pulled_step_by_step(toy_plan):
    plan = toy_plan()
    actor = TrialActor("triage dln1 13", 3, plan.trials[0].settings, services_of(plan), Begun())
    kinds, state, done = [], None, False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold)
        while not done:
            values = json.loads(await actor.advance(json.dumps(state), finish=False))
            state, done = values["state"], values["done"]
            kinds.append(values["event"]["kind"])
            assert values["event"]["epoch"] == 3
        assert repr(actor) == "triage dln1 13 · step 2"
        assert (await actor.progress())["calls"] > 0
        await actor.close()
    assert kinds == ["start", "step", "step", "finish"]


async def test_what_ends_a_trial_reaches_the_driver_by_its_type(toy_plan):
    nowhere = LLMConfig(provider="openai_compatible", model="m", base_url="http://127.0.0.1:9/v1")
    plan = toy_plan(llm=nowhere)
    actor = TrialActor("t", 1, plan.trials[0].settings, services_of(plan), Begun())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold)
        with pytest.raises(LLMError):
            await actor.advance("null", finish=False)
        with pytest.raises(LLMError):
            await actor.advance("null", finish=False)


async def test_a_closed_trial_refuses_more_steps(toy_plan):
    plan = toy_plan()
    actor = TrialActor("t", 1, plan.trials[0].settings, services_of(plan), Begun())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold)
        await actor.close()
    with pytest.raises(anyio.ClosedResourceError):
        await actor.advance("null", finish=False)
