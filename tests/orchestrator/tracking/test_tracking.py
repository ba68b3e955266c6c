from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from dln_core.errors import ConfigError, TrackingError
from orchestrator.journal import Journal
from orchestrator.settings.addresses import without_password
from orchestrator.settings.schema import TrackingConfig
from orchestrator.tracking import Tracker, sync
from orchestrator.tracking.store import check_store
from orchestrator.tracking.tracker import JOURNAL_TAG

CANDIDATES = [
    {
        "layer": "output",
        "prompt": 0,
        "num_examples": 6,
        "index": index,
        "source": "rewrite",
        "instruction": f"try | {index}",
        "demonstrations": [],
        "reward": reward,
        "objective": reward,
        "selected": reward == 0.9,
    }
    for index, reward in enumerate([0.1, 0.9, 0.5])
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One MLflow database for the module: making the tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def recorded(toy_plan, toy_event, store, request):
    """Return a plan whose first trial is journalled to its end and whose second has begun."""
    tracking = TrackingConfig(uri=store, experiment=request.node.name)
    plan = toy_plan(13, 42, tracking=tracking)
    with Journal.locked(plan.out_dir) as journal:
        first, second = (journal.recover(trial.trial_id) for trial in plan.trials)
        first.begin(plan.trials[0].settings)
        first.append(toy_event(0), {})
        first.append(toy_event(1, candidates=CANDIDATES), {})
        first.append(toy_event(1, kind="finish", time=1_700_000_002.0), {})
        second.begin(plan.trials[1].settings)
        second.append(toy_event(0), {})
    return plan


def runs_of(plan):
    client = MlflowClient(plan.run.tracking.uri)
    experiment = client.get_experiment_by_name(plan.run.tracking.experiment)
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    return client, {run.data.tags["trial_id"]: run for run in runs}


def rows_of(client, run, name):
    history = client.get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.timestamp, metric.value) for metric in history]


def content_of(plan):
    """Return all that the store holds of a plan: each metric's rows, tags, parameters, files."""
    client, runs = runs_of(plan)
    return {
        key: (
            run.info.status,
            run.data.params,
            run.data.tags,
            {name: rows_of(client, run, name) for name in run.data.metrics},
            sorted(
                file.path
                for folder in (None, "prompts", "candidates")
                for file in client.list_artifacts(run.info.run_id, folder)
            ),
        )
        for key, run in runs.items()
    }


def test_the_store_holds_what_the_journal_holds(recorded, toy_event):
    assert sync(recorded) == 0
    client, runs = runs_of(recorded)
    run = runs[recorded.trials[0].trial_id]
    history = client.get_metric_history(run.info.run_id, "train/elbo")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (event["step"], event["metrics"]["train/elbo"], int(event["time"] * 1000))
        for event in (toy_event(0), toy_event(1), toy_event(1, time=1_700_000_002.0))
    ]
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.metrics["calls/paid"] == 12
    assert run.data.metrics["cost/usd"] == 0.75
    assert run.info.run_name == recorded.trials[0].name
    assert (run.data.tags["sweep"], run.data.tags["rung"]) == ("toy", "score")
    assert (run.data.params["task"], run.data.params["trainer.num_prompts"]) == ("triage", "4")
    assert run.info.status == "FINISHED"


def test_a_trial_that_nobody_works_on_is_not_shown_as_running(recorded):
    sync(recorded)
    assert runs_of(recorded)[1][recorded.trials[1].trial_id].info.status == "KILLED"


def test_settings_that_ran_none_of_a_folders_trials_leave_its_runs_alone(recorded, toy_plan):
    sync(recorded)
    before = content_of(recorded)
    with pytest.raises(ConfigError, match="none that action=sync was asked for"):
        sync(toy_plan(7, tracking=recorded.run.tracking))
    assert content_of(recorded) == before


def test_completing_twice_adds_nothing(recorded):
    sync(recorded)
    before = content_of(recorded)
    sync(recorded)
    assert content_of(recorded) == before


def test_a_record_lost_between_figures_and_position_is_not_doubled(recorded):
    sync(recorded)
    before = content_of(recorded)
    client, runs = runs_of(recorded)
    for run in runs.values():
        client.set_tag(run.info.run_id, "dln.recorded_events", "0")
    sync(recorded)
    assert content_of(recorded) == before


def test_a_run_goes_on_where_it_stopped(recorded, toy_event):
    sync(recorded)
    trial = recorded.trials[1]
    with Journal.locked(recorded.out_dir) as journal:
        second = journal.recover(trial.trial_id)
        second.begin(trial.settings)
        second.append(toy_event(1, epoch=2), {})
        second.append(toy_event(1, epoch=2, kind="finish"), {})
    sync(recorded)
    client, runs = runs_of(recorded)
    run = runs[trial.trial_id]
    assert len(runs) == 2
    assert run.info.status == "FINISHED"
    tokens = client.get_metric_history(run.info.run_id, "tokens/prompt")
    assert [metric.value for metric in tokens] == [200, 400, 600]


def test_prompts_and_candidates_read_well(recorded, tmp_path):
    sync(recorded)
    client, runs = runs_of(recorded)
    run = runs[recorded.trials[0].trial_id]

    def text_of(path):
        return open(client.download_artifacts(run.info.run_id, path, str(tmp_path))).read()

    page = text_of("prompts/step_001.md")
    assert "Say Urgent or Normal." in page
    assert page.index("try \\| 1") < page.index("try \\| 2") < page.index("try \\| 0")
    assert page.count("**selected**") == 1
    table = list(csv.DictReader(io.StringIO(text_of("candidates/step_001.csv"))))
    assert [row["instruction"] for row in table] == ["try | 1", "try | 2", "try | 0"]
    assert [row["selected"] for row in table] == ["True", "False", "False"]
    assert "Say Urgent or Normal." in text_of("best_prompt.md")


def test_a_run_shows_its_data_set_and_the_code_that_it_came_from(recorded):
    sync(recorded)
    _, runs = runs_of(recorded)
    trial = recorded.trials[0]
    run = runs[trial.trial_id]
    [used] = run.inputs.dataset_inputs
    assert used.dataset.name == "triage"
    assert recorded.digests[trial.trial_id].startswith(used.dataset.digest)
    sizes = json.loads(used.dataset.profile)
    assert (sizes["num_dev"], sizes["num_test"]) == (8, 12)
    about = json.loads((recorded.out_dir / "journal.json").read_text())
    assert run.data.tags.get("git_commit") == about["git_commit"]


def test_the_best_network_is_a_model_and_its_prompts_are_registered_under_an_alias(recorded):
    sync(recorded)
    client, runs = runs_of(recorded)
    trial = recorded.trials[0]
    version = client.get_model_version_by_alias("toy.triage", "best")
    assert version.run_id == runs[trial.trial_id].info.run_id
    folder = Path(version.source)
    assert json.loads((folder / "artifacts" / "network.json").read_text())["name"] == "dln1"
    requirements = (folder / "requirements.txt").read_text()
    assert "mlflow==" in requirements
    assert "anyio==" in requirements
    prompt = client.get_prompt_version_by_alias("toy.triage.output", "best")
    assert prompt.template == "Say Urgent or Normal."


def test_a_better_network_takes_the_alias_over(recorded, toy_event):
    sync(recorded)
    better = {"instruction": "Say {{ x }}.", "demonstrations": []}
    network = {"name": "dln1", "layers": [{"name": "output", "width": 1, "prompts": [better]}]}
    trial = recorded.trials[1]
    with Journal.locked(recorded.out_dir) as journal:
        second = journal.recover(trial.trial_id)
        second.begin(trial.settings)
        best = {"best": {"dev_accuracy": 0.9, "step": 1}, "best_network": network}
        second.append(toy_event(1, epoch=2, kind="finish", **best), {})
    sync(recorded)
    client, runs = runs_of(recorded)
    version = client.get_model_version_by_alias("toy.triage", "best")
    assert version.run_id == runs[trial.trial_id].info.run_id
    prompt = client.get_prompt_version_by_alias("toy.triage.output", "best")
    # MLflow would take the original for a variable.
    assert (prompt.template, prompt.variables) == ("Say { { x }}.", set())


def test_the_run_of_the_sweep_has_the_report_and_no_metric(recorded):
    (recorded.out_dir / "report").mkdir(exist_ok=True)
    for name in ("report.html", "results.csv", "report/curves.png"):
        (recorded.out_dir / name).write_text(name)
    sync(recorded)
    client, _ = runs_of(recorded)
    experiment = client.get_experiment_by_name(recorded.run.tracking.experiment)
    [sweep] = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    assert (sweep.data.metrics, sweep.data.params) == ({}, {})
    files = {file.path for file in client.list_artifacts(sweep.info.run_id)}
    assert files == {"report", "report.html", "results.csv"}
    assert "models:/toy.triage@best" in sweep.data.tags["mlflow.note.content"]


def test_a_store_that_failed_on_the_way_gets_every_figure_once(recorded):
    with Journal.locked(recorded.out_dir) as journal:
        tracker = Tracker(recorded, journal)
        trial = recorded.trials[0]
        tracker.catch_up(trial, 1)
        client, runs = runs_of(recorded)
        run_id = runs[trial.trial_id].info.run_id
        folder = Path(client.get_run(run_id).info.artifact_uri)
        aside = folder.rename(folder.with_name("aside"))
        folder.write_text("no folder")
        with pytest.raises(TrackingError, match="action=sync"):
            tracker.catch_up(trial, 3)
        folder.unlink()
        aside.rename(folder)
        tracker.catch_up(trial, 3)
    tokens = client.get_metric_history(run_id, "tokens/prompt")
    assert [metric.value for metric in tokens] == [200, 400, 600]


def test_a_store_that_went_away_before_the_end_was_told_shows_it_later(recorded, monkeypatch):
    trial = recorded.trials[0]
    with Journal.locked(recorded.out_dir) as journal:
        tracker = Tracker(recorded, journal)

        def gone(*_, **__):
            raise OSError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "set_terminated", gone)
            with pytest.raises(TrackingError, match="gone"):
                tracker.catch_up(trial, 3)
        tracker.complete({one.trial_id: journal.read(one.trial_id) for one in recorded.trials})
    run = runs_of(recorded)[1][trial.trial_id]
    assert (run.info.status, run.info.end_time) == ("FINISHED", 1_700_000_002_000)


def test_a_run_that_was_made_unnoticed_is_found_again(recorded):
    trial = recorded.trials[0]
    with Journal.locked(recorded.out_dir) as journal:
        unaware = Tracker(recorded, journal)
        Tracker(recorded, journal).catch_up(trial, 2)
        unaware.catch_up(trial, 3)
    client, runs = runs_of(recorded)
    experiment = client.get_experiment_by_name(recorded.run.tracking.experiment)
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert runs[trial.trial_id].info.status == "FINISHED"


def test_events_without_figures_are_recorded_and_change_how_a_trial_stands(recorded, toy_event):
    trial = recorded.trials[0]
    about = {"reason": "budget", "bound": "max_tokens", "value": 1}
    with Journal.locked(recorded.out_dir) as journal:
        first = journal.recover(trial.trial_id)
        first.begin(trial.settings)
        first.append(toy_event(1, epoch=2, kind="reopen", time=1_700_000_003.0), {})
        first.append(toy_event(1, epoch=2, kind="stop", time=1_700_000_004.0, **about), {})
        tracker = Tracker(recorded, journal)
        tracker.catch_up(trial, first.num_events)
    client, runs = runs_of(recorded)
    run = runs[trial.trial_id]
    assert (run.info.status, run.data.tags["status"]) == ("RUNNING", "unfinished")
    assert len(client.get_metric_history(run.info.run_id, "train/elbo")) == 3


CALL = {
    "epoch": 1, "step": 0, "duration_s": 0.25, "role": "score", "kind": "scoring", "list_size": 1,
    "model": "simulated", "messages": [{"role": "user", "text": "Urgent?"}], "parameters": {},
    "targets": ["Urgent"], "error": None,
    "answers": [{"text": "Urgent", "logprob": -1.0, "num_tokens": 1, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}  # fmt: skip


def traces_of(plan):
    client = MlflowClient(plan.run.tracking.uri)
    experiment = client.get_experiment_by_name(plan.run.tracking.experiment).experiment_id
    traces = client.search_traces(locations=[experiment])
    return {trace.info.tags["mlflow.traceName"].split(": ")[1]: trace for trace in traces}


def test_logged_calls_become_a_trace_a_unit_of_work_with_the_times_of_the_log(recorded):
    trial = recorded.trials[0]
    folder = recorded.out_dir / "trials" / trial.trial_id
    sent_at = (1_699_999_999.5, 1_700_000_000.5, 1_700_000_000.75, 1_700_000_001.5)
    calls = [CALL | {"time": time} for time in sent_at]
    calls[2] |= {"error": "RequestError: refused", "answers": [], "usage": None}
    lines = [*calls, {"num_left_out": 7}]
    sync(recorded)
    (folder / "calls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recorded.run.tracking.traces = True
    for _ in range(2):
        sync(recorded)
        traces = traces_of(recorded)
        assert {name: len(trace.data.spans) - 1 for name, trace in traces.items()} == {
            "start": 1,
            "step 1": 2,
            "finish": 1,
        }
    _, runs = runs_of(recorded)
    run_ids = {trace.info.trace_metadata["mlflow.sourceRun"] for trace in traces.values()}
    assert run_ids == {runs[trial.trial_id].info.run_id}
    good, refused = traces["step 1"].data.spans[1:]
    assert (good.start_time_ns, good.end_time_ns) == (
        1_700_000_000_500_000_000,
        1_700_000_000_750_000_000,
    )
    assert good.inputs["messages"] == [{"role": "user", "content": "Urgent?"}]
    assert good.outputs[0]["text"] == "Urgent"
    assert refused.status.description == "RequestError: refused"
    assert traces["step 1"].info.token_usage["total_tokens"] == 4


def test_traces_need_calls_that_are_logged(toy_plan):
    with pytest.raises(ConfigError, match=r"call_log\.share=0\.05"):
        toy_plan(tracking=TrackingConfig(traces=True))


def test_a_database_without_its_driver_is_told_with_what_to_install():
    with pytest.raises(TrackingError, match=r"install dln\[postgresql\]"):
        check_store("postgresql+nothing://user:secret@/db")


def test_the_compare_address_names_the_runs_in_plan_order(recorded):
    with Journal.locked(recorded.out_dir) as journal:
        tracker = Tracker(recorded, journal)
        tracker.complete({t.trial_id: journal.read(t.trial_id) for t in recorded.trials})
    _, runs = runs_of(recorded)
    ids = ",".join(f"%22{runs[trial.trial_id].info.run_id}%22" for trial in recorded.trials)
    assert f"/#/compare-runs?runs=%5B{ids}%5D&experiments=".replace(",", "%2C") in (
        tracker.compare_url()
    )


def test_equal_trials_of_two_folders_have_runs_of_their_own(recorded):
    sync(recorded)
    client, runs = runs_of(recorded)
    trial_id = recorded.trials[0].trial_id
    (recorded.out_dir / "journal.json").write_text('{"id": "another"}')
    sync(recorded)
    experiment = runs[trial_id].info.experiment_id
    found = client.search_runs([experiment], f"tags.trial_id = '{trial_id}'")
    assert len({run.data.tags[JOURNAL_TAG] for run in found}) == 2


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE invoices (id)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(TrackingError, match="has the table invoices"):
        check_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, only words " * 50)
    with pytest.raises(TrackingError, match="no database"):
        check_store(f"sqlite:///{path}")


def test_a_locked_database_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.store.LOCK_TIMEOUT_S", 0.1)
    path = tmp_path / "mlflow.db"
    check_store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="is locked by another program"):
            check_store(f"sqlite:///{path}")


def test_a_store_that_names_a_secret_after_its_colon_has_no_port_to_reach():
    uri = TrackingConfig(uri="databricks://scope:prefix").uri
    check_store(uri)


def test_a_server_out_of_reach_is_told_without_its_password():
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        check_store("http://user:secret@127.0.0.1:9")
    assert without_password("postgresql://u:p@h:1/d") == "postgresql://h:1/d"
