"""``python -m dln_core.export verify``: what a trial left on disk is what it says it is."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import asdict, replace

import pytest
import yaml

from dln_core.config import LLMConfig, PhaseConfig, PriceConfig, TrialSettings
from dln_core.config.reading import config_from
from dln_core.errors import ConfigError, ExportError, LLMError
from dln_core.export.verify import Access, verify_trial
from dln_core.llm.simulated import InContextReader
from dln_core.trial import Services, Trial
from orchestrator.journal import Journal
from tests.servers import serve


async def carried_out(plan, settings, *, steps=None):
    """Carry out a plan's trial without Ray and return its folder."""
    trial = plan.trials[0]
    with Journal.locked(plan.out_dir) as journal:
        record = journal.recover(trial.trial_id)
        epoch = record.begin(trial.settings)
        services = Services(cache=plan.run.cache, store=journal.id)
        async with Trial.open(settings, services) as opened:
            state, done = None, False
            while not done and steps != 0:
                advance = await opened.advance(state)
                state, done = advance.state, advance.done
                record.append({**advance.event, "epoch": epoch, "time": 0.0}, state)
                steps = None if steps is None else steps - 1
    return record.folder


@pytest.fixture
async def finished(toy_plan):
    plan = toy_plan()
    folder = await carried_out(plan, plan.trials[0].settings)
    return folder, Access(cache=plan.run.cache)


def changed(path, change):
    path.write_text(change(path.read_text()))


def test_settings_are_read_as_they_were_written(toy_plan):
    (trial,) = toy_plan().trials
    priced = replace(trial.settings.llm, prices={"m": PriceConfig(prompt_usd_per_million=1.0)})
    phases = [PhaseConfig(layers=["output"], num_iterations=1)]
    settings = replace(
        trial.settings,
        backward_llm=priced,
        trainer=replace(trial.settings.trainer, phases=phases),
    )
    written = yaml.safe_dump(asdict(settings), sort_keys=False)
    assert config_from(TrialSettings, yaml.safe_load(written)) == settings


async def test_a_finished_trial_is_verified_without_a_call(finished):
    folder, access = finished
    found = await verify_trial(folder, access)
    assert "on 8 dev items (all from stored answers), as recorded" in found


async def test_whatever_ends_a_line_may_stand_in_a_learned_text(finished):
    folder, access = finished
    events = folder / "events.jsonl"
    *lines, last = events.read_text().rstrip("\n").split("\n")
    finish = json.loads(last)
    finish["predictions"][0]["prediction"] += "\u2028\u0085\x0c"
    events.write_text("\n".join([*lines, json.dumps(finish, ensure_ascii=False), ""]))
    assert "as recorded" in await verify_trial(folder, access)


async def test_a_file_that_was_changed_is_told_of(finished):
    folder, access = finished
    changed(folder / "network.json", lambda text: text.replace("Decide", "Guess"))
    with pytest.raises(ExportError, match="is not the network that the trial recorded"):
        await verify_trial(folder, access)


async def test_another_accuracy_than_the_recorded_one_is_told_of(finished):
    folder, access = finished
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    lines[-1]["best"]["dev_accuracy"] -= 1e-6
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ExportError, match="the model answers otherwise than it did"):
        await verify_trial(folder, access)


async def test_a_trial_that_goes_on_and_broken_records_end_in_one_sentence(toy_plan, finished):
    folder, access = finished
    changed(folder / "config.yaml", lambda text: text.replace("seed:", "seeed:"))
    with pytest.raises(ConfigError, match="'seeed' is no setting of TrialSettings"):
        await verify_trial(folder, access)
    changed(folder / "events.jsonl", lambda text: text[:-20])
    changed(folder / "config.yaml", lambda text: text.replace("seeed:", "seed:"))
    with pytest.raises(ConfigError, match=r"the record in .* is broken"):
        await verify_trial(folder, access)
    plan = toy_plan(14)
    folder = await carried_out(plan, plan.trials[0].settings, steps=2)
    with pytest.raises(ConfigError, match="has not finished"):
        await verify_trial(folder, access)


@asynccontextmanager
async def endpoint(**switches):
    async with serve(InContextReader(), **switches) as server:
        yield (
            server,
            LLMConfig(provider="openai_compatible", model="simulated", base_url=server.base_url),
        )


async def test_the_endpoint_is_asked_for_nothing_but_what_is_not_stored(toy_plan, tmp_path):
    async with endpoint() as (server, llm):
        plan = toy_plan(llm=llm)
        folder = await carried_out(plan, plan.trials[0].settings)
        before = server.num_requests
        assert "all from stored answers" in await verify_trial(folder, Access(cache=plan.run.cache))
        assert server.num_requests == before
        elsewhere = replace(plan.run.cache, dir=str(tmp_path / "elsewhere"))
        assert "8 calls were paid" in await verify_trial(folder, Access(cache=elsewhere))
        assert server.num_requests > before
    # The endpoint is gone: what was stored meanwhile is enough.
    assert "all from stored answers" in await verify_trial(folder, Access(cache=elsewhere))
    nothing = Access(cache=replace(elsewhere, dir=str(tmp_path / "nothing")))
    with pytest.raises(LLMError):
        await verify_trial(folder, nothing)


async def test_a_local_model_that_is_not_served_is_told_how_to_serve(toy_plan, tmp_path):
    async with endpoint() as (_, llm):
        plan = toy_plan(llm=LLMConfig())
        settings = plan.trials[0].settings
        served = replace(settings, llm=replace(settings.llm, base_url=llm.base_url))
        folder = await carried_out(plan, served)
    assert "as recorded" in await verify_trial(folder, Access(cache=plan.run.cache))
    nothing = Access(cache=replace(plan.run.cache, dir=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match=r"llm\.local serve qwen2\.5-coder-0\.5b"):
        await verify_trial(folder, nothing)


async def test_verdicts_of_a_judging_model_are_taken_from_the_store_too(toy_plan):
    async with endpoint(routes={"chat/completions"}) as (_, llm):
        plan = toy_plan(llm=llm)
        settings = plan.trials[0].settings
        judge = replace(llm, model="judge")
        judged = replace(
            settings, task=replace(settings.task, judge="llm"), judge_llm=judge, llm=llm
        )
        plan = replace(plan, trials=[replace(plan.trials[0], settings=judged)])
        folder = await carried_out(plan, judged)
    assert "all from stored answers" in await verify_trial(folder, Access(cache=plan.run.cache))
