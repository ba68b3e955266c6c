"""Which trials a run has, what they are called, and what plan.json says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dln_core.config import (
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    PhaseConfig,
    TaskConfig,
    TrainerConfig,
)
from dln_core.errors import ConfigError, DataError, JournalError
from orchestrator.journal import Journal
from orchestrator.planning.plan import make_plan, write_plan
from orchestrator.planning.plan_table import print_plan
from orchestrator.settings.schema import BoundsConfig, BudgetConfig, LimitsConfig, RunConfig
from tests.orchestrator.conftest import MakeEvent, MakePlan

ZERO_SHOT = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
SIMULATED = LLMConfig(provider="simulated", model="simulated")


def config(**changes: object) -> RunConfig:
    base = RunConfig(llm=SIMULATED, trainer=TrainerConfig(batch_size=4, num_iterations=1))
    return replace(base, **changes)


def test_trials_keep_the_order_of_the_sweep() -> None:
    seeds = [5, 3, 4]
    plan = make_plan([config(seed=seed) for seed in seeds])
    assert [trial.settings.seed for trial in plan.trials] == seeds
    assert [trial.name for trial in plan.trials] == [f"triage dln1 {seed}" for seed in seeds]


def test_what_does_not_depend_on_the_seed_runs_once() -> None:
    plan = make_plan([config(network=ZERO_SHOT, seed=seed) for seed in (13, 42, 25)])
    assert [trial.settings.seed for trial in plan.trials] == [13]


def test_a_trial_is_the_same_in_another_sweep_and_folder() -> None:
    first = make_plan([config(out_dir="a", sweep="one")])
    second = make_plan([config(out_dir="b", sweep="two", limits=LimitsConfig(max_concurrency=1))])
    assert first.trials[0].trial_id == second.trials[0].trial_id


def test_every_trial_has_the_digest_of_its_data() -> None:
    tasks = ["triage", "routing", "triage"]
    points = [config(task=TaskConfig(name=task), seed=i) for i, task in enumerate(tasks)]
    digests = list(make_plan(points).digests.values())
    assert digests[0] == digests[2] != digests[1]


def test_a_sweep_is_recorded_under_its_name() -> None:
    plan = make_plan([config(sweep="mine")])
    assert (plan.sweep, plan.out_dir) == ("mine", Path("runs/mine"))
    assert make_plan([config(out_dir="elsewhere")]).out_dir == Path("elsewhere")


def test_without_a_sweep_file_tasks_and_networks_name_the_folder() -> None:
    assert make_plan([config()]).out_dir == Path("runs/triage-dln1")
    points = [
        config(task=TaskConfig(name=task), network=network, seed=seed)
        for task in ("triage", "routing")
        for network in (ZERO_SHOT, NetworkConfig())
        for seed in (1, 2)
    ]
    name = make_plan(points).sweep
    assert name == "triage+routing-zero_shot+dln1"
    other_seeds = [replace(point, seed=point.seed + 7) for point in points]
    assert make_plan(other_seeds).sweep == name


def test_a_long_list_of_networks_gets_a_short_and_steady_name() -> None:
    points = [config(network=NetworkConfig(name=f"network_number_{i}")) for i in range(9)]
    name = make_plan(points).sweep
    assert name.startswith("adhoc-")
    assert len(name) < 20
    assert make_plan(points).sweep == name


def test_only_what_differs_beyond_the_names_is_a_column() -> None:
    points = [
        config(network=network, trainer=TrainerConfig(batch_size=4, num_prompts=count), seed=seed)
        for network in (NetworkConfig(), NetworkConfig(name="wide", num_shots=2))
        for count in (2, 3)
        for seed in (1, 2)
    ]
    trials = make_plan(points).trials
    assert len(trials) == 8
    assert {tuple(trial.varying) for trial in trials} == {("trainer.num_prompts",)}
    assert trials[0].name == "triage dln1 1 num_prompts=2"


def test_presets_and_models_are_columns_and_what_follows_from_them_is_not() -> None:
    fast = TrainerConfig(preset="fast", batch_size=4, num_prompts=2)
    paper = TrainerConfig(preset="paper", batch_size=8, num_prompts=4)
    points = [
        config(trainer=trainer, llm=replace(SIMULATED, model=model, timeout_s=timeout))
        for trainer in (fast, paper)
        for model, timeout in (("small", 1.0), ("large", 9.0))
    ]
    assert [trial.varying for trial in make_plan(points).trials] == [
        {"trainer.preset": preset, "llm.model": model}
        for preset in ("fast", "paper")
        for model in ("small", "large")
    ]


def test_a_narrow_plan_leaves_columns_out_rather_than_fold_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = make_plan([config()])
    trial = plan.trials[0]
    console = Console(width=80)
    print_plan(plan, console)
    shown = capsys.readouterr().out
    table = [line for line in shown.splitlines() if line.startswith(("┃", "│"))]
    assert all(len(line) <= 80 for line in table)
    assert trial.settings.task.name in table[1]
    assert trial.settings.network.name in table[1]
    assert ("rests on" in table[0]) != ("Too narrow for rests on" in shown)


def test_schedules_are_one_column_in_the_words_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    schedules = [[PhaseConfig(layers=["output"], num_iterations=3)], []]
    trainers = [TrainerConfig(batch_size=4, phases=phases) for phases in schedules]
    plan = make_plan([config(trainer=trainer) for trainer in trainers])
    shown = ["[{layers:[output],num_iterations:3}]", "[]"]
    assert [trial.varying for trial in plan.trials] == [{"trainer.phases": text} for text in shown]
    print_plan(plan)
    assert shown[0] in capsys.readouterr().out


def test_what_holds_for_the_run_cannot_differ_between_trials() -> None:
    points = [config(limits=LimitsConfig(max_concurrency=n), seed=n) for n in (1, 2)]
    with pytest.raises(ConfigError, match="limits differs between trials"):
        make_plan(points)


def test_a_batch_that_the_data_cannot_fill_is_refused_before_the_run() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=9999"):
        make_plan([config(trainer=TrainerConfig(batch_size=9999))])


def test_missing_data_and_missing_networks_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="trec"):
        make_plan([config(task=TaskConfig(name="trec"), data=DataConfig(dir=str(tmp_path)))])
    with pytest.raises(ConfigError, match=r"network\.init=none\.json is not a file"):
        make_plan([config(network=NetworkConfig(init="none.json"))])


def test_folders_do_not_depend_on_where_an_actor_works() -> None:
    plan = make_plan([config(data=DataConfig(dir="data"))])
    assert plan.trials[0].settings.data.dir == str(Path("data").resolve())


def test_plan_json_lists_the_trials_and_the_estimate(tmp_path: Path) -> None:
    plan = make_plan([config(seed=seed, out_dir=str(tmp_path / "out")) for seed in (1, 2)])
    saved = json.loads(write_plan(plan).read_text())
    assert [trial["trial_id"] for trial in saved["trials"]] == [t.trial_id for t in plan.trials]
    assert saved["trials"][1]["settings"]["seed"] == 2
    assert saved["estimate"]["calls"] > saved["trials"][0]["estimate"]["calls"] > 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.json"]


def test_plan_json_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    llm = LLMConfig(
        provider="openai_compatible",
        model="m",
        base_url="http://host:8000/v1",
        api_key_env="SOME_KEY",
    )
    text = write_plan(make_plan([config(llm=llm, out_dir=str(tmp_path))])).read_text()
    assert "sk-secret" not in text
    assert "http://host:8000/v1" in text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file"):
        write_plan(make_plan([config(out_dir=str(tmp_path / "file" / "out"))]))


def test_the_table_shows_each_trial_of_a_small_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan([config(seed=seed) for seed in (1, 2)])
    print_plan(plan)
    printed = capsys.readouterr().out
    assert all(trial.trial_id in printed for trial in plan.trials)
    assert "2 trials" in printed


def test_the_table_does_not_say_that_it_is_recorded_before_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_plan(make_plan([config()]))
    printed = capsys.readouterr().out
    assert "No call was made." in printed
    assert "Recorded" not in printed


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.001, "does not suffice for the validation and the test of any trial"),
        (0.9, "will end training early"),
        (1.1, "may end training early"),
        (1e9, None),
    ],
)
def test_a_bound_that_the_plan_may_pass_is_told(
    share: float, told: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [config(seed=seed) for seed in range(40)]
    bound = int(share * make_plan(trials).estimate.low.cost.tokens)
    for each in trials:
        each.budget = BudgetConfig(max_tokens=bound)
    print_plan(make_plan(trials))
    printed = capsys.readouterr().out
    assert ("budget.max_tokens" in printed) == (told is not None)
    assert told is None or f"budget.max_tokens={bound:g} {told}" in printed


def test_a_bound_of_each_trial_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    budget = BudgetConfig(trial=BoundsConfig(max_tokens=5))
    print_plan(make_plan([config(seed=seed, budget=budget) for seed in range(2)]))
    assert "budget.trial.max_tokens=5 does not suffice" in capsys.readouterr().out


def test_a_trial_that_a_raised_budget_lets_go_on_is_not_called_finished(
    toy_plan: MakePlan, toy_event: MakeEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = toy_plan(1, 2, budget=BudgetConfig(max_tokens=1000))
    with Journal.locked(plan.out_dir) as journal:
        for trial in plan.trials:
            record = journal.recover(trial.trial_id)
            epoch = record.begin(trial.settings)
            stop = {"reason": "budget", "bound": "budget.max_tokens", "value": 1000}
            record.append({"kind": "stop", "step": 0, "epoch": epoch, **stop}, {})
            record.append(toy_event(1, kind="finish", epoch=epoch, stopped="budget"), {})
    print_plan(plan)
    assert "Of 2 trials 2 are finished and not run again." in capsys.readouterr().out
    plan.run.budget.max_tokens = 10**9
    print_plan(plan)
    assert "finished" not in capsys.readouterr().out


def test_the_table_groups_the_seeds_of_a_large_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan([config(seed=seed) for seed in range(40)])
    print_plan(plan)
    printed = capsys.readouterr().out
    assert "40 trials" in printed
    assert plan.trials[0].trial_id not in printed
