"""The user's own data on the command line: composed, planned, refused before any start."""

from __future__ import annotations

from pathlib import Path

import pytest

from dln_core.config import TrialSettings
from dln_core.config.reading import config_from
from dln_core.errors import ConfigError
from orchestrator.planning.plan import make_plan
from orchestrator.settings.compose import Composer
from orchestrator.settings.schema import RunConfig

OWN = ("task.input=text", "task.label=class", "llm=simulated", "trainer.batch_size=4")


@pytest.fixture
def composer() -> Composer:
    return Composer()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, word in (("one", "Message"), ("two", "Letter")):
        rows = "".join(f"{word} {i},{('Calm', 'Urgent')[i % 2]}\n" for i in range(40))
        (tmp_path / f"{name}.csv").write_text(f"text,class\n{rows}", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compose(composer: Composer, *overrides: str, multirun: bool = False) -> list[RunConfig]:
    return composer.compose([*OWN, *overrides], multirun=multirun)


def test_a_csv_is_a_task_like_any_other(composer: Composer, folder: Path) -> None:
    plan = make_plan(compose(composer, "task=csv", "task.path=one.csv"))
    assert [trial.name for trial in plan.trials] == ["csv dln1 13"]
    # Actors may stand in another folder.
    assert plan.trials[0].settings.task.path == str(folder / "one.csv")


def test_own_data_may_have_a_name_and_be_swept_over(composer: Composer, folder: Path) -> None:
    overrides = ["task=csv", "task.name=post", "task.path=one.csv,two.csv"]
    plan = make_plan(compose(composer, *overrides, multirun=True))
    assert {trial.settings.task.name for trial in plan.trials} == {"post"}
    assert len({trial.trial_id for trial in plan.trials}) == 2


def test_what_a_journal_keeps_of_own_data_is_read_back(composer: Composer, folder: Path) -> None:
    overrides = ["task=csv", "task.path=one.csv", "task.labels=[Urgent,Calm]", "task.judge=exact"]
    plan = make_plan(compose(composer, *overrides))
    settings = plan.trials[0].settings
    saved = {"task": {name: getattr(settings.task, name) for name in settings.task.__slots__}}
    assert config_from(TrialSettings, saved).task == settings.task


def test_own_data_without_its_fields_is_refused(composer: Composer) -> None:
    with pytest.raises(ConfigError, match=r"task=jsonl lacks task.path, task.input, task.label"):
        composer.compose(["task=jsonl"])
