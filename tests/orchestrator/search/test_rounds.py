"""A search in its output folder: what it has chosen stands, and the best on dev is its verdict."""

from __future__ import annotations

import json

import pytest

from dln_core.config import (
    DataConfig,
    GuideConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
)
from orchestrator.journal import Journal
from orchestrator.search.rounds import SEARCH_FILE, Search
from orchestrator.search.space import Numbers, Space
from orchestrator.settings.schema import RunConfig, SearchConfig

SPACE = Space(
    (Numbers("guide.temperature", 0.3, 1.0), Numbers("num_hidden", 2, 89)),
    {"num_hidden": "2 to 89"},
)


@pytest.fixture
def search(tmp_path):
    """Open the search in its folder: of two settings of the trainer, with two seeds each."""

    def opened(space=SPACE, kind="optuna", num_settings=5, round_size=2, output="auto"):
        config = SearchConfig(kind=kind, num_settings=num_settings, seed=0, round_size=round_size)

        def point(setting, seed):
            trainer = TrainerConfig(
                num_hidden=int(setting["num_hidden"]),
                guide=GuideConfig(temperature=float(setting["guide.temperature"])),
            )
            return RunConfig(
                task=TaskConfig(name="triage"),
                network=NetworkConfig(name="dln1"),
                llm=LLMConfig(provider="simulated", model="simulated"),
                data=DataConfig(max_dev=8, max_test=12),
                out_dir=str(tmp_path / "out"),
                trainer=trainer,
                search=config,
                output=output,
                seed=seed,
            )

        def compose(*, choose):
            settings = choose(RunConfig(search=config), space)
            return [point(setting, seed) for setting in settings for seed in (1, 2)]

        return Search(compose)

    return opened


@pytest.fixture
def finish(toy_event):
    """Journal a trial that has finished with an accuracy on dev."""

    def make(plan, number, dev_accuracy):
        trial = plan.trials[number]
        with Journal.locked(plan.out_dir) as journal:
            record = journal.recover(trial.trial_id)
            epoch, best = record.begin(trial.settings), {"dev_accuracy": dev_accuracy, "step": 0}
            record.append(toy_event(0, epoch=epoch, best=best), {})
            record.append(toy_event(0, kind="finish", epoch=epoch, best=best), None)

    return make


@pytest.fixture
def fail():
    """Journal a trial that has failed."""

    def make(plan, number):
        trial = plan.trials[number]
        with Journal.locked(plan.out_dir) as journal:
            record = journal.recover(trial.trial_id)
            stamp = {"epoch": record.begin(trial.settings), "time": 0.0}
            record.append({"kind": "failed", "step": 0, "error": "x"} | stamp, {})

    return make


def settings(search):
    return [trial.varying for trial in search.plan.trials]


def test_the_first_round_is_planned_before_anything_has_run(search):
    opened = search()
    assert len(opened.plan.trials) == 4
    assert "first 2 of 5 settings" in opened.outlook()
    assert "about 6 trials" in opened.outlook()
    assert "no setting has finished" in opened.verdict()


def test_a_random_search_is_planned_in_full(search):
    opened = search(kind="random", num_settings=3, round_size=None)
    assert len(opened.plan.trials) == 6
    assert "all of the 3 settings" in opened.outlook()


TWO = Space((Numbers("guide.temperature", 0.5, 0.5), Numbers("num_hidden", 2, 3)), {"two": ""})
ONE = Space((Numbers("guide.temperature", 0.5, 0.5), Numbers("num_hidden", 2, 2)), {"one": ""})


@pytest.mark.parametrize(("space", "told"), [(ONE, "1 setting"), (TWO, "2 different settings")])
def test_equal_draws_are_not_counted_as_settings(search, finish, space, told):
    opened = search(space, kind="random", num_settings=8, round_size=None)
    told_of_all = f"these are all of the 8 draws ({told}, as equal draws run once)"
    assert told_of_all in opened.outlook()
    for number in range(len(opened.plan.trials)):
        finish(opened.plan, number, 0.5)
    assert f"of {told[0]} settings the best on dev" in opened.verdict()


def test_equal_draws_of_the_first_rounds_are_not_counted_as_settings(search, finish, capsys):
    opened = search(ONE, num_settings=7, round_size=3)
    note = "(1 setting, as equal draws run once)"
    assert f"these are the first 3 of 7 draws {note}; the other 4 are chosen" in opened.outlook()
    for number in range(2):
        finish(opened.plan, number, 0.5)
    assert opened.advance()
    assert f"search: 6 of 7 settings are chosen {note}" in capsys.readouterr().out


def test_rounds_follow_on_what_dev_says_and_a_resumed_search_goes_on_with_the_same(search, finish):
    first = search()
    for number, accuracy in enumerate((0.4, 0.6, 0.9, 0.7)):
        finish(first.plan, number, accuracy)
    assert first.advance()
    assert len(first.plan.trials) == 8
    resumed, chosen = search(), settings(first)
    assert settings(resumed) == chosen
    saved = json.loads((first.plan.out_dir / SEARCH_FILE).read_text())
    assert [row["dev_accuracy"] for row in saved["settings"]] == [0.5, 0.8, None, None]
    assert saved["best"] == 1
    assert "of 2 settings the best on dev" in resumed.verdict()
    assert "mean dev 80.0, mean test 50.0 over 2 trial(s)" in resumed.verdict()


def test_what_was_chosen_does_not_depend_on_when_a_search_was_stopped(search, finish):
    first = search()
    for number in range(4):
        finish(first.plan, number, 0.5)
    later = search()
    assert first.advance()
    assert later.advance()
    assert settings(later) == settings(first)


def test_a_search_does_not_go_on_while_trials_are_open(search, finish):
    opened = search()
    for number in range(3):
        finish(opened.plan, number, 0.5)
    assert not opened.advance()
    assert len(opened.plan.trials) == 4


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_search_ends_once_a_whole_round_has_failed(search, finish, fail, is_resumed):
    opened = search(num_settings=6)
    for number in range(4):
        finish(opened.plan, number, 0.5)
    assert opened.advance()
    for number in range(4, 8):
        fail(opened.plan, number)
    assert not (search(num_settings=6) if is_resumed else opened).advance()


def test_a_longer_search_goes_on_where_a_shorter_one_ended(search, finish):
    short = search(num_settings=2)
    for number in range(4):
        finish(short.plan, number, 0.5)
    assert not short.advance()
    longer = search(num_settings=3)
    assert longer.advance()
    assert [trial.trial_id for trial in longer.plan.trials[:4]] == [
        trial.trial_id for trial in short.plan.trials
    ]
    assert len(longer.plan.trials) == 6


def test_a_search_that_was_cut_short_goes_on_once_it_may_be_longer_again(search, finish):
    whole = search()
    for _ in range(3):
        for number in range(len(whole.plan.trials)):
            finish(whole.plan, number, 0.5)
        whole.advance()
    assert len(settings(whole)) == 10
    assert not search(num_settings=2).advance()
    assert search(num_settings=6).advance()


def test_a_search_that_was_cut_short_forgets_nothing_that_it_chose(search, finish):
    whole = search(kind="random", num_settings=3, round_size=None)
    for number in range(6):
        finish(whole.plan, number, 0.1 * number)
    whole.advance()
    before = json.loads((whole.plan.out_dir / SEARCH_FILE).read_text())
    short = search(kind="random", num_settings=1, round_size=None)
    assert len(short.plan.trials) == 2
    assert not short.advance()
    assert "of 1 settings the best on dev" in short.verdict()
    after = json.loads((whole.plan.out_dir / SEARCH_FILE).read_text())
    assert after["settings"] == before["settings"]
    assert (before["best"], after["best"]) == (2, 0)
    again = search(kind="random", num_settings=3, round_size=None)
    assert settings(again) == settings(whole)


def test_a_longer_search_learns_from_what_a_cut_one_left_out(search, finish):
    whole = search()
    for _ in range(3):
        for number in range(len(whole.plan.trials)):
            finish(whole.plan, number, 0.5)
        whole.advance()
    search(num_settings=3).advance()
    assert settings(search()) == settings(whole)


def test_with_json_a_search_that_begins_anew_says_so_on_the_standard_error(search, finish, capsys):
    first = search()
    for number in range(4):
        finish(first.plan, number, 0.5)
    first.advance()
    capsys.readouterr()
    search(Space(SPACE.dimensions, {"num_hidden": "2 to 79"}), output="json")
    out, err = capsys.readouterr()
    assert out == ""
    assert "begins anew" in err


def test_a_search_of_another_space_begins_anew(search, finish, capsys):
    first = search()
    for number in range(4):
        finish(first.plan, number, 0.5)
    first.advance()
    other = search(Space(SPACE.dimensions, {"num_hidden": "2 to 79"}))
    assert len(other.plan.trials) == 4
    assert "begins anew" in capsys.readouterr().out


def test_a_setting_of_which_a_trial_failed_is_not_the_best(search, finish, fail):
    opened = search()
    for number, accuracy in ((0, 0.5), (1, 0.5), (2, 0.9)):
        finish(opened.plan, number, accuracy)
    fail(opened.plan, 3)
    assert opened.advance()
    assert "mean dev 50.0" in opened.verdict()


def test_equal_trials_are_one_and_every_point_names_its_own(toy_plan):
    plan = toy_plan(1, 2, trained=False)
    assert len(plan.trials) == 1
    assert plan.points == (plan.trials[0].trial_id,) * 2
