"""Plans learn from past runs: what trials took corrects what the formula says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dln_core.building import build_network
from dln_core.config import LayerConfig, LLMConfig, NetworkConfig, TaskConfig
from dln_core.export.document import document_text, network_document
from orchestrator.files import to_json
from orchestrator.journal import Journal
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.catalogue import Catalogue
from orchestrator.planning.past import with_past
from orchestrator.planning.plan import Plan, make_plan, write_plan
from orchestrator.planning.plan_table import print_plan
from orchestrator.settings.schema import ClusterConfig, RunConfig
from tests.orchestrator.planning.estimate_toys import SIMULATED, TRAINER
from tests.worlds import parity_task


def planned(out_dir: Path, **changes: object) -> Plan:
    values = {"trainer": TRAINER, "llm": SIMULATED, "out_dir": str(out_dir)}
    return make_plan([RunConfig(**(values | changes))])


def record(plan: Plan, factor: float, *, start_s: float = 0.0, **changes: object) -> None:
    """Record that each trial took so many times what the formula says, 100 s each."""
    with Journal.locked(plan.out_dir) as journal:
        write_plan(plan)
        for number, trial in enumerate(plan.trials):
            said = trial.estimate.total
            usage = {
                "calls": said.calls * factor,
                "prompt_tokens": said.prompt_tokens * factor,
                "completion_tokens": said.completion_tokens * factor,
            }
            counts = {name: round(value) for name, value in usage.items()}
            counts |= {f"paid_{name}": value for name, value in counts.items()}
            event: dict[str, Any] = {
                "kind": "finish",
                "step": 3,
                "time": start_s + 100.0 * (number + 1),
                "seconds": 100.0,
                "usage": {"score": counts},
                "cost_usd": 0.0,
                "metrics": {},
                "best": {"dev_accuracy": 0.5, "step": 0},
                "best_network": {"layers": []},
                "predictions": [],
                "test": {"accuracy": 0.5},
                "stopped": None,
                **changes,
            }
            one = journal.recover(trial.trial_id)
            one.begin(trial.settings)
            one.append(event | {"epoch": one.epoch}, {})


def test_without_a_past_the_formula_stands(tmp_path: Path) -> None:
    plan = planned(tmp_path / "new")
    assert with_past(plan) == plan


def test_a_past_trial_corrects_those_like_it_whatever_their_seed_and_steps(tmp_path: Path) -> None:
    record(planned(tmp_path / "before"), 0.5)
    longer = replace(TRAINER, num_iterations=30)
    plan = planned(tmp_path / "new", seed=7, trainer=longer)
    [corrected] = with_past(plan).trials
    formula = plan.trials[0].estimate
    assert corrected.estimate.num_past == 1
    assert corrected.estimate.total.calls == pytest.approx(0.5 * formula.total.calls, rel=0.01)
    assert corrected.estimate.total.tokens == pytest.approx(0.5 * formula.total.tokens, rel=0.01)
    low, high = corrected.estimate.low.cost, corrected.estimate.high.cost
    assert low.calls < corrected.estimate.total.calls < high.calls
    assert high.tokens - low.tokens < formula.high.cost.tokens - formula.low.cost.tokens


@pytest.mark.parametrize(
    "changes",
    [
        {"task": TaskConfig(name="routing")},
        {"network": NetworkConfig(name="other", layers=[LayerConfig(instruction="Else.")])},
        {"llm": LLMConfig(provider="simulated", model="another")},
        {"trainer": replace(TRAINER, preset="fast")},
        {"calibration": "empirical"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_trials_that_differ_in_what_matters_tell_nothing(
    changes: dict[str, object], tmp_path: Path
) -> None:
    record(planned(tmp_path / "before"), 0.5)
    plan = planned(tmp_path / "new", **changes)
    assert with_past(plan) == plan


def test_several_past_trials_make_the_range(tmp_path: Path) -> None:
    record(planned(tmp_path / "one", seed=1), 0.5)
    record(planned(tmp_path / "two", seed=2), 0.9)
    plan = planned(tmp_path / "new", seed=3)
    [corrected] = with_past(plan).trials
    calls = plan.trials[0].estimate.total.calls
    assert corrected.estimate.num_past == 2
    assert corrected.estimate.total.calls == pytest.approx(0.7 * calls, rel=0.01)
    assert corrected.estimate.low.cost.calls == pytest.approx(0.5 / 1.25 * calls, rel=0.01)
    assert corrected.estimate.high.cost.calls == pytest.approx(0.9 * 1.25 * calls, rel=0.01)


def test_what_was_stopped_failed_or_is_damaged_tells_nothing(tmp_path: Path) -> None:
    record(planned(tmp_path / "stopped"), 0.5, stopped="budget")
    record(planned(tmp_path / "failed"), 0.5, kind="failed", error="no")
    for name in ("torn", "old", "gone"):
        record(planned(tmp_path / name), 0.5)
    [torn] = (tmp_path / "torn" / "trials").glob("*/events.jsonl")
    torn.write_text('{"kind": ')
    [old] = (tmp_path / "old" / "trials").glob("*/config.yaml")
    old.write_text("settings_of_another_version: 1\n")
    [gone] = (tmp_path / "gone" / "trials").glob("*/state.json")
    gone.unlink()
    plan = planned(tmp_path / "new")
    assert with_past(plan) == plan


def test_a_past_trial_whose_files_are_gone_tells_nothing(tmp_path: Path) -> None:
    def starting_at(name: str) -> NetworkConfig:
        learned = build_network(NetworkConfig(name="dln1"), parity_task())
        (tmp_path / name).write_text(document_text(network_document(learned, "simulated")))
        return NetworkConfig(init=str(tmp_path / name))

    record(planned(tmp_path / "before", network=starting_at("gone.json")), 0.5)
    plan = planned(tmp_path / "new", network=starting_at("there.json"))
    assert with_past(plan).trials[0].estimate.num_past == 1
    (tmp_path / "gone.json").unlink()
    assert with_past(plan) == plan


def test_a_past_trial_of_which_the_formula_says_nothing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(planned(tmp_path / "before"), 0.5)
    plan = planned(tmp_path / "new")
    monkeypatch.setattr(Catalogue, "expected", lambda *_: (Estimate(), None))
    assert with_past(plan).trials == plan.trials


def test_a_trial_that_was_opened_again_and_finished_tells_as_much_as_others(tmp_path: Path) -> None:
    past = planned(tmp_path / "before")
    record(past, 0.5)
    with Journal.locked(past.out_dir) as journal:
        one = journal.recover(past.trials[0].trial_id)
        epoch = one.begin(past.trials[0].settings)
        one.append({"kind": "reopen", "step": 3, "time": 200.0, "epoch": epoch}, {})
    record(past, 0.5, start_s=200.0)
    (corrected,) = with_past(planned(tmp_path / "new", seed=7)).trials
    assert corrected.estimate.num_past == 1


def test_a_past_trial_that_tells_of_several_planned_ones_is_counted_once(tmp_path: Path) -> None:
    record(planned(tmp_path / "before"), 0.5)
    runs = [
        RunConfig(seed=seed, trainer=TRAINER, llm=SIMULATED, out_dir=str(tmp_path / "new"))
        for seed in (7, 8)
    ]
    assert with_past(make_plan(runs)).estimate.num_past == 1


def test_the_time_is_that_of_past_calls_and_of_as_many_trials_at_once(tmp_path: Path) -> None:
    past = planned(tmp_path / "before")
    record(past, 1.0)
    points = [
        RunConfig(
            trainer=TRAINER,
            llm=SIMULATED,
            out_dir=str(tmp_path / "new"),
            seed=seed,
            cluster=ClusterConfig(max_trials=4),
            baselines=[],
        )
        for seed in range(8)
    ]
    estimate = with_past(make_plan(points)).estimate
    assert estimate.time_basis == "past"
    # One trial of 100 s ran at a time; at best four do now.
    assert estimate.seconds == pytest.approx(800, rel=0.02)
    assert estimate.low.seconds == pytest.approx(800 / 4 / 1.25, rel=0.02)
    assert estimate.high.seconds == pytest.approx(800 * 1.25, rel=0.02)


def test_answers_from_a_store_tell_no_time(tmp_path: Path) -> None:
    usage = {
        name: 100 * (not name.startswith("paid"))
        for kind in ("calls", "prompt_tokens", "completion_tokens")
        for name in (kind, f"paid_{kind}")
    }
    record(planned(tmp_path / "before"), 1.0, usage={"score": usage})
    estimate = with_past(planned(tmp_path / "new")).estimate
    assert estimate.num_past == 1
    assert estimate.time_basis is None


def test_the_table_says_what_rests_on_past_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path / "out")
    record(plan, 0.5)
    other = RunConfig(
        trainer=TRAINER,
        llm=SIMULATED,
        out_dir=str(tmp_path / "out"),
        task=TaskConfig(name="routing"),
    )
    run = RunConfig(trainer=TRAINER, llm=SIMULATED, out_dir=str(tmp_path / "out"))
    corrected = with_past(make_plan([run, other]))
    print_plan(corrected)
    printed = capsys.readouterr().out
    assert "1 past trial" in printed
    assert "formula" in printed
    assert "Of 2 trials 1 is finished" in printed
    saved = json.loads(write_plan(corrected).read_text())
    assert [t["estimate"]["num_past_trials"] for t in saved["trials"]] == [1, 0]
    assert saved["estimate"]["low"]["calls"] < saved["estimate"]["calls"]
    assert to_json(saved["estimate"]["high"])


def test_the_plan_of_a_run_rests_on_the_formula_alone(tmp_path: Path) -> None:
    record(planned(tmp_path / "out"), 0.5)
    [again] = planned(tmp_path / "out").trials
    assert again.estimate == Catalogue().expected(again.settings)[0]
