from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from mlflow.tracking import MlflowClient

from dln_core.errors import TrackingError
from orchestrator.journal import Journal
from orchestrator.schema import TrackingConfig
from orchestrator.tracking import JOURNAL_TAG, Tracker, sync
from orchestrator.tracking_check import check_store, without_password

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
    runs = client.search_runs([experiment.experiment_id])
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
    assert text_of("candidates/step_001.json").startswith('{"columns":["layer"')
    assert "Say Urgent or Normal." in text_of("best_prompt.md")


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
    monkeypatch.setattr("orchestrator.tracking_check.LOCK_TIMEOUT_S", 0.1)
    path = tmp_path / "mlflow.db"
    check_store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="is locked by another program"):
            check_store(f"sqlite:///{path}")


def test_a_server_out_of_reach_is_told_without_its_password():
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        check_store("http://user:secret@127.0.0.1:9")
    assert without_password("postgresql://u:p@h:1/d") == "postgresql://h:1/d"
