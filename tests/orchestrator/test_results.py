from __future__ import annotations

import csv
import json

import pytest
from rich.console import Console

from dln_core.errors import ConfigError, JournalError
from orchestrator.comparison import baseline_of, gather
from orchestrator.journal import Journal
from orchestrator.results import COLUMNS, report, write_results
from orchestrator.terminal.table import ResultTable, headings, result_cells, title


def baseline(name, correct):
    items = [{"id": key, "correct": value} for key, value in correct.items()]
    num_correct = sum(correct.values())
    return {
        "task": "triage",
        "model": "simulated",
        "baseline": name,
        "num_items": len(items),
        "num_correct": num_correct,
        "accuracy": num_correct / len(items),
        "low": 0.0,
        "high": 1.0,
        "predictions": items,
    }


@pytest.fixture
def finished(toy_plan, toy_event):
    """Return a plan of two trials of which the first is finished, with its reference points."""
    plan = toy_plan(13, 42)
    trial = plan.trials[0]
    with Journal.locked(plan.out_dir) as journal:
        record = journal.recover(trial.trial_id)
        record.begin(trial.settings)
        for event in (toy_event(0), toy_event(1), toy_event(1, kind="finish")):
            record.append(event, {})
        rows = [
            baseline("majority", {"b": True, "a": False}),
            baseline("initial", {"b": False, "a": False}),
        ]
        journal.write_baselines(baseline_of(plan, trial), rows)
    return plan


def results_of(plan):
    journal = Journal(plan.out_dir)
    summaries = {t.trial_id: journal.read(t.trial_id).summary for t in plan.trials}
    return gather(plan, journal, summaries)


def test_results_have_the_columns_of_the_design_and_a_row_a_trial_in_plan_order(finished):
    write_results(finished.out_dir, results_of(finished))
    with (finished.out_dir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["trial_id"] for row in rows] == [trial.trial_id for trial in finished.trials]
    assert [row["status"] for row in rows] == ["finished", "pending"]
    first = rows[0]
    assert (first["calls"], first["paid_tokens_prompt"], first["cost_usd"]) == ("30", "240", "0.75")
    assert (first["test_accuracy"], first["dev_accuracy"], first["elbo"]) == ("0.5", "0.6", "-2.0")
    assert rows[1]["test_accuracy"] == ""
    assert json.loads((finished.out_dir / "results.json").read_text())[0]["steps"] == 1


def test_varying_settings_are_columns_too(toy_plan):
    plan = toy_plan()
    plan.trials[0].varying["trainer.num_hidden"] = 3
    with Journal.locked(plan.out_dir):
        write_results(plan.out_dir, results_of(plan))
    header, row = (plan.out_dir / "results.csv").read_text().splitlines()
    assert header.endswith("seconds,trainer.num_hidden")
    assert row.endswith(",3")


def test_before_and_after_are_paired_by_item(finished):
    comparison = results_of(finished).comparisons[finished.trials[0].trial_id]
    assert comparison.before["accuracy"] == 0.0
    assert comparison.p_value == 1.0
    assert comparison.references["majority"] == 0.5


def test_no_p_value_is_given_for_other_items(finished):
    journal, trial = Journal(finished.out_dir), finished.trials[0]
    journal.write_baselines(baseline_of(finished, trial), [baseline("initial", {"c": True})])
    assert results_of(finished).comparisons[trial.trial_id].p_value is None


def test_reference_points_that_were_asked_for_have_columns(finished):
    journal, trial = Journal(finished.out_dir), finished.trials[0]
    rows = [baseline(name, {"a": True, "b": False}) for name in ("initial", "kate", "few_shot")]
    journal.write_baselines(baseline_of(finished, trial), rows)
    results = results_of(finished)
    cells = dict(zip(headings(results), result_cells(results)[0], strict=True))
    assert list(cells)[-2:] == ["few-shot", "kate"]
    assert (cells["few-shot"], cells["kate"]) == ("50.0", "50.0")


def test_what_is_not_significant_is_called_so(finished):
    results = results_of(finished)
    cells = dict(zip(headings(results), result_cells(results)[0], strict=True))
    assert cells["p, exact paired"] == "1 not significant"
    assert (cells["test before"], cells["after"]) == ("0.0 [0.0, 100.0]", "50.0 [10.0, 90.0]")
    assert (cells["gain"], cells["majority"]) == ("+50.0", "50.0")


def lines_of(results, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(ResultTable(results))
    return capture.get().splitlines()


def test_no_line_of_the_table_is_wider_than_the_terminal_or_folded(finished):
    results = results_of(finished)
    longest = max(len(trial.name) for trial in results.trials)
    for width in range(longest + 62, 140):
        lines = lines_of(results, width)
        assert max(map(len, lines)) <= width
        for trial, cells in zip(results.trials, result_cells(results), strict=True):
            row = next(line for line in lines if trial.name in line)
            assert cells[4] in row
            assert cells[6].replace("not significant", "n.s.") in row.replace(
                "not significant", "n.s."
            )


def test_what_a_narrow_table_leaves_out_is_said(finished):
    results = results_of(finished)
    assert not any("too narrow" in line for line in lines_of(results, 140))
    assert "too narrow for dev, majority" in " ".join("".join(lines_of(results, 70)).split())


def test_a_folder_without_a_sweep_has_no_report(toy_plan):
    with pytest.raises(JournalError, match="holds no sweep"):
        report(toy_plan())


def test_settings_that_ran_none_of_a_folders_trials_leave_its_results_alone(finished, toy_plan):
    assert report(finished) == 0
    files = [path for path in finished.out_dir.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    told = r"holds 1 trial\(s\), but none that action=report .* give the settings that ran them"
    with pytest.raises(ConfigError, match=told) as refused:
        report(toy_plan(7))
    assert refused.value.exit_code == 2
    assert {path: path.read_bytes() for path in files} == before


def test_seeds_that_are_yet_to_be_run_do_not_keep_the_others_from_the_report(finished, toy_plan):
    assert report(toy_plan(13, 7)) == 0
    rows = json.loads((finished.out_dir / "results.json").read_text())
    assert [row["status"] for row in rows] == ["finished", "pending"]


def test_what_is_measured_by_another_metric_says_so(toy_plan, toy_event):
    plan = toy_plan(13, 42)
    trial = plan.trials[0]
    trial.settings.task.metric = "mean_score"
    before = [{"id": name, "correct": False, "score": 0.25} for name in ("a", "b")]
    after = [{"id": name, "correct": True, "score": 0.75} for name in ("a", "b")]
    with Journal.locked(plan.out_dir) as journal:
        record = journal.recover(trial.trial_id)
        record.begin(trial.settings)
        record.append(toy_event(0), {})
        record.append(toy_event(0, kind="finish") | {"predictions": after}, {})
        row = baseline("initial", {"a": False, "b": False}) | {"predictions": before}
        journal.write_baselines(baseline_of(plan, trial), [row | {"metric": "mean_score"}])
    results = results_of(plan)
    assert results.comparisons[trial.trial_id].p_value == pytest.approx(2 / 4)
    assert title(results).startswith("Test accuracy or mean score in percent")
    assert "p, paired" in headings(results)
    write_results(plan.out_dir, results)
    for name, metrics in (("results", ["mean_score", "accuracy"]), ("baselines", ["mean_score"])):
        with (plan.out_dir / f"{name}.csv").open() as file:
            assert [row["metric"] for row in csv.DictReader(file)] == metrics
