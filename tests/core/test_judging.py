"""Answers that a language model judges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dln_core.api import evaluate
from dln_core.baselines.run import run_baselines
from dln_core.building import build_network
from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrialSettings,
)
from dln_core.errors import ConfigError, RequestError
from dln_core.identity import baseline_id, trial_id
from dln_core.judging import VERDICTS, LanguageJudge
from dln_core.llm.base import Choice, GenerateRequest, Response
from dln_core.llm.capabilities import Route
from dln_core.tasks.own import make_task
from dln_core.trial import Services, Trial
from dln_core.types import Role, Usage

SIMULATED = LLMConfig(provider="simulated", model="simulated")
ZERO_SHOT = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])


class Grading:
    """Answers every question with one text; as a judge it prefers Yes by given odds."""

    def __init__(self, answer: str = "The town of Paris", yes: float = 0.9, said: str = "Yes."):
        self.answer, self.yes, self.said = answer, yes, said
        self.judged: list[str] = []

    async def send(self, request):
        usage = Usage(10, 1)
        if request.role is Role.judge:
            self.judged.append("\n".join(message.text for message in request.messages))
        if isinstance(request, GenerateRequest):
            text = self.said if request.role is Role.judge else self.answer
            return Response((Choice(text, (-0.1,)),), usage)
        likely = {VERDICTS[0]: self.yes, VERDICTS[1]: 1.0 - self.yes}
        choices = (Choice(t, (math.log(likely.get(t, 0.5)),)) for t in request.targets)
        return Response(tuple(choices), usage)


def capitals(**changes):
    pairs = {
        split: [(f"Capital of {land}, {split}?", town)]
        for split, (land, town) in {
            "train": ("France", "Paris"),
            "dev": ("Spain", "Madrid"),
            "test": ("France", "Paris"),
        }.items()
    }
    return make_task("Answer.", pairs, judge="llm", **changes)


async def judged(task, model, prediction, *, rung="label"):
    asked = replace(task, grader=LanguageJudge(model, Route("chat", rung)))
    return await asked.judged(prediction, task.splits.test[0])


async def test_the_probability_of_yes_is_the_score():
    task = capitals(metric="mean_score")
    verdict = await judged(task, Grading(yes=0.75), "The town of Paris")
    assert verdict.score == pytest.approx(0.75)
    assert verdict.is_right
    assert not (await judged(task, Grading(yes=0.25), "Rome")).is_right


async def test_the_judge_reads_the_question_the_right_answer_and_the_one_given():
    model = Grading()
    await judged(capitals(), model, "{{ 7 * 7 }} of Paris")
    [text] = model.judged
    for shown in ("Capital of France, test?", "Paris", "{{ 7 * 7 }} of Paris"):
        assert shown in text


@pytest.mark.parametrize(
    ("said", "is_right"),
    [("Yes", True), ("yes, it does", True), ("No.", False), ("Yes or No", False), ("Hm", False)],
)
async def test_without_log_probs_the_verdict_is_written_and_one_that_is_unclear_is_no(
    said, is_right
):
    verdict = await judged(capitals(), Grading(said=said), "Paris town", rung="monte_carlo")
    assert verdict.is_right is is_right
    assert verdict.score is None


async def test_the_right_answer_to_the_letter_is_not_asked_about():
    model = Grading(yes=0.0001)
    assert (await judged(capitals(), model, " Paris\n")).is_right
    assert model.judged == []


def test_a_model_that_is_not_open_judges_nothing():
    with pytest.raises(ConfigError, match="asks a language model, which is not open here"):
        capitals().judge("Paris", "Paris")


def test_macro_f1_cannot_be_read_from_yes_and_no():
    with pytest.raises(ConfigError, match=r"task.judge=llm tells right from wrong alone"):
        replace(capitals(), labels=("Paris", "Madrid"), metric="macro_f1")


def settings(**changes):
    own = TaskConfig(name="stock_count", judge="llm")
    values = {"task": own, "network": ZERO_SHOT, "llm": SIMULATED}
    return TrialSettings(**(values | {"data": DataConfig(max_dev=6, max_test=8)} | changes))


@pytest.fixture
def services(tmp_path):
    return Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))


async def run_of(chosen, services, **opened):
    async with Trial.open(chosen, services, **opened) as trial:
        advance = await trial.advance(None)
        while not advance.done:
            advance = await trial.advance(advance.state)
        return advance.event, trial.usage


async def test_a_trial_counts_verdicts_by_their_own_role(services):
    event, usage = await run_of(settings(), services, task=capitals(), model=Grading())
    assert event["test"]["num_correct"] == 1
    assert usage["judge"]["calls"] == 2
    assert event["usage"]["judge"]["calls"] == 1


async def test_the_first_event_tells_how_verdicts_are_scored_where_a_model_judges(services):
    for task, is_told in ((capitals(), True), (replace(capitals(), own_judge=None), False)):
        async with Trial.open(settings(), services, task=task, model=Grading()) as trial:
            event = (await trial.advance(None)).event
        assert ({"judge_rung", "judge_api"} <= set(event)) is is_told


async def test_a_judge_that_writes_nothing_has_given_no_verdict():
    with pytest.raises(RequestError, match="wrote nothing in 16 tokens; if it thinks first"):
        await judged(capitals(), Grading(said=" "), "Paris town", rung="monte_carlo")


async def test_the_judge_may_be_another_model_than_that_of_the_layers(services):
    chosen = settings(judge_llm=replace(SIMULATED, model="other"))
    model = Grading()
    _, usage = await run_of(chosen, services, task=capitals(), model=model)
    assert usage["judge"]["calls"] > 0
    assert model.judged == []


async def test_a_judge_that_nothing_asks_is_refused(services):
    chosen = settings(judge_llm=SIMULATED, task=TaskConfig(name="triage"))
    with pytest.raises(ConfigError, match=r"answers of triage are judged by label; set task.judge"):
        async with Trial.open(chosen, services):
            pass


async def test_the_judge_and_its_wording_name_a_trial_only_where_it_judges():
    def ids(**changes):
        return trial_id(settings(**changes), "data"), baseline_id(settings(**changes), "data")

    other = {"judge_llm": replace(SIMULATED, model="other")}
    plain = {"task": TaskConfig(name="stock_count")}
    assert ids() == ids(judge_llm=SIMULATED)
    assert not {*ids()} & {*ids(**other)}
    assert ids(**plain) == ids(**plain, **other)


async def test_an_answer_that_the_judge_refuses_has_failed_with_the_reason():
    class Refusing(Grading):
        async def send(self, request):
            if request.role is Role.judge and "Spain" in str(request.messages):
                raise RequestError("too long")
            return await super().send(request)

    pairs = {
        split: [(f"Capital of {land}, {split}?", "Paris") for land in ("France", "Spain")]
        for split in ("train", "dev", "test")
    }
    task = make_task("Answer.", pairs, judge="llm")
    event = await evaluate(build_network(ZERO_SHOT, task), task, llm=Refusing())
    assert [item["correct"] for item in event.predictions] == [True, False]
    assert event.predictions[1]["failure"] == "too long"


async def test_reference_points_are_judged_by_the_same_model(services):
    rows = await run_baselines(settings(), services)
    assert {row["num_items"] for row in rows} == {8}
    assert rows[0]["usage"]["judge"]["calls"] > 0
