"""A trial that is resumed scores as it began, or stops with a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dln_core.config import (
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    ScoringConfig,
    TaskConfig,
    TrialSettings,
)
from dln_core.errors import ScoringError
from dln_core.llm.simulated import InContextReader
from dln_core.trial import Services
from orchestrator.resuming import Begun, open_trial
from orchestrator.summary import TrialSummary
from tests.servers import serve


@pytest.fixture
def services(toy_plan):
    return Services(cache=toy_plan().run.cache, store="toy")


def settings_for(server, **llm) -> TrialSettings:
    endpoint = LLMConfig(provider="openai_compatible", model="m", base_url=server.base_url, **llm)
    return TrialSettings(llm=endpoint, scoring=ScoringConfig(num_samples=7))


def begun_of(trial_started) -> Begun:
    summary = TrialSummary()
    summary.add(trial_started)
    return Begun.of(summary)


async def started(settings, services):
    async with open_trial(settings, services, Begun()) as trial:
        return (await trial.advance(None)).event


async def test_a_trial_goes_on_by_the_rung_that_it_began_with(services):
    async with serve(InContextReader(), routes={"completions"}) as poor:
        begun = begun_of(await started(settings_for(poor), services))
    assert begun == Begun("echo", "completions")
    # This endpoint can do better by now.
    async with (
        serve(InContextReader()) as rich,
        open_trial(settings_for(rich), services, begun) as trial,
    ):
        assert trial.rung == "echo"


async def test_a_lower_rung_ends_a_resumed_trial_with_one_sentence(services):
    async with serve(InContextReader()) as rich:
        begun = begun_of(await started(settings_for(rich), services))
    assert begun.rung == "score"
    async with serve(InContextReader(), routes={"chat/completions"}) as poor:
        with pytest.raises(ScoringError, match="began with m on the scoring rung score, but") as no:
            async with open_trial(settings_for(poor), services, begun):
                pass
        assert "begin anew in another out_dir" in str(no.value)
        # A trial that has not begun takes what there is.
        async with open_trial(settings_for(poor), services, Begun()) as trial:
            assert trial.rung == "label"


async def test_a_trial_that_began_by_sampling_goes_on_by_sampling(services):
    hidden = LayerConfig(name="thoughts", template="hidden", instruction="Think.")
    two = NetworkConfig(name="dln2", layers=[hidden, LayerConfig()])
    async with serve(InContextReader(), routes={"chat/completions"}) as poor:
        settings = replace(settings_for(poor), network=two)
        event = await started(settings, services)
        assert (event["rung"], event["endpoint_rung"]) == ("monte_carlo", "label")
        begun = begun_of(event)
    async with serve(InContextReader()) as rich:
        settings = replace(settings_for(rich), network=two)
        async with open_trial(settings, services, begun) as trial:
            assert trial.rung == "monte_carlo"
    silent = serve(InContextReader(), routes={"chat/completions"}, next_token="null")
    async with silent as poorer:
        settings = replace(settings_for(poorer), network=two)
        with pytest.raises(ScoringError, match="began with m on the scoring rung label, but"):
            async with open_trial(settings, services, begun):
                pass


def judged_by(server) -> TrialSettings:
    """A trial of the simulated model that a model on this server judges."""
    judge = LLMConfig(provider="openai_compatible", model="j", base_url=server.base_url)
    return TrialSettings(
        task=TaskConfig(name="stock_count", judge="llm"),
        network=NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)]),
        data=DataConfig(max_dev=3, max_test=3),
        llm=LLMConfig(provider="simulated", model="m"),
        judge_llm=judge,
    )


async def test_a_lower_rung_of_the_model_that_judges_ends_a_resumed_trial_too(services):
    async with serve(InContextReader()) as rich:
        begun = begun_of(await started(judged_by(rich), services))
        assert (begun.judge_rung, begun.judge_api) == ("score", "chat")
    # What is left are written verdicts, which are another measure.
    async with serve(InContextReader(), routes={"chat/completions"}, next_token="null") as poor:
        expected = "began with m on the scoring rung score, judged by j on the rung score, but"
        with pytest.raises(ScoringError, match=expected):
            async with open_trial(judged_by(poor), services, begun):
                pass
        event = await started(judged_by(poor), services)
        assert event["judge_rung"] == "monte_carlo"
        begun = begun_of(event)
    # One that began with written verdicts goes on with them.
    async with serve(InContextReader()) as rich:
        async with open_trial(judged_by(rich), services, begun) as trial:
            advance = await trial.advance(None)
        assert advance.event["judge_rung"] == "monte_carlo"


def test_what_else_is_set_of_scoring_is_kept():
    held = Begun("label", "chat").settings(TrialSettings(scoring=ScoringConfig(num_samples=7)))
    assert held.scoring == ScoringConfig(rung="label", num_samples=7)
    assert held.llm.api == "chat"
