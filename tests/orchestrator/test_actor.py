from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace

import anyio
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import LLMError
from dln_core.trial import Services
from orchestrator.actor import Order, TrialActor
from orchestrator.cluster.materials import Materials
from orchestrator.resuming import Begun


def actor_of(plan, name="t", epoch=1):
    settings = plan.trials[0].settings
    services = Services(limits=plan.run.limits, cache=plan.run.cache, store="toy")
    return TrialActor(name, epoch, settings, services, Begun(), Materials.read(settings))


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
    actor = actor_of(plan, "triage dln1 13", 3)
    kinds, state, done = [], None, False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold, {})
        while not done:
            values = json.loads(await actor.advance(Order(state=json.dumps(state))))
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
    actor = actor_of(plan)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold, {})
        with pytest.raises(LLMError):
            await actor.advance(Order(state="null"))
        with pytest.raises(LLMError):
            await actor.advance(Order(state="null"))


async def test_a_trial_that_cannot_be_laid_out_says_so_to_the_driver(toy_plan, monkeypatch):
    settings = toy_plan().trials[0].settings
    materials = replace(Materials.read(settings), network="{}")
    actor = TrialActor("t", 1, settings, Services(), Begun(), materials)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold, {})
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10), pytest.raises(FileNotFoundError):
            await actor.advance(Order(state="null"))


async def test_a_closed_trial_refuses_more_steps(toy_plan):
    plan = toy_plan()
    actor = actor_of(plan)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold, {})
        await actor.close()
    with pytest.raises(anyio.ClosedResourceError):
        await actor.advance(Order(state="null"))
