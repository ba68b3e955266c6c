"""The record in a real PostgreSQL, also while that goes away."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import pytest
from mlflow.tracking import MlflowClient

from dln_core.errors import TrackingError
from orchestrator.journal import Journal
from orchestrator.settings.schema import TrackingConfig
from orchestrator.tracking import Tracker, sync
from tests.services import free_port

pytestmark = pytest.mark.slow

START_DEADLINE_S = 120


def program(name: str) -> str | None:
    """Return the newest PostgreSQL program of a name that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


class Postgres:
    """A server of its own on loopback; as root it runs as another user, as it demands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            # Its folder must be reached by that user; those of pytest are root's alone.
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "dln", "--no-sync")

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._as_user, str(program(name)), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self._folder, timeout=START_DEADLINE_S
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def uri(self) -> str:
        return f"postgresql+pg8000://dln:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -F"
        self._run(
            "pg_ctl", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-w",
            "-t", str(START_DEADLINE_S), "-o", options, "start",
        )  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")


@contextmanager
def open_to_all(path: Path) -> Iterator[Path]:
    """Make a folder under the system's own, since pytest's cannot be entered by other users."""
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if program("initdb") is None or program("pg_ctl") is None:
        pytest.skip("no PostgreSQL is installed")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
    with open_to_all(Path(gettempdir()) / f"dln-postgres-{os.getpid()}") as folder:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def test_a_record_in_postgresql_catches_up_after_the_server_was_away(
    postgres, toy_plan, toy_event, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan = toy_plan(13, tracking=TrackingConfig(uri=postgres.uri))
    trial = plan.trials[0]
    with Journal.locked(plan.out_dir) as journal:
        record = journal.recover(trial.trial_id)
        record.begin(trial.settings)
        record.append(toy_event(0), {})
        tracker = Tracker(plan, journal)
        tracker.catch_up(trial, 1)
        postgres.stop()
        record.append(toy_event(1), {})
        record.append(toy_event(1, kind="finish", time=1_700_000_002.0), {})
        with pytest.raises(TrackingError, match="action=sync") as raised:
            tracker.catch_up(trial, 3)
        assert "secret" not in str(raised.value)
        postgres.start()
        tracker.catch_up(trial, 3)
    for _ in range(2):
        assert sync(plan) == 0
        client = MlflowClient(postgres.uri)
        experiment = client.get_experiment_by_name("dln").experiment_id
        [run] = client.search_runs([experiment], "tags.kind = 'trial'")
        tokens = client.get_metric_history(run.info.run_id, "tokens/prompt")
        assert [metric.value for metric in tokens] == [200, 400, 600]
        assert run.info.status == "FINISHED"
        version = client.get_model_version_by_alias("toy.triage", "best")
        assert (version.version, version.run_id) == (1, run.info.run_id)
    assert list((tmp_path / "mlartifacts" / "dln").glob("*/artifacts/best_prompt.md"))


def test_a_database_that_is_not_there_is_told_in_one_sentence(postgres, toy_plan):
    uri = postgres.uri.replace("/postgres", "/missing")
    plan = toy_plan(13, tracking=TrackingConfig(uri=uri))
    with (
        Journal.locked(plan.out_dir) as journal,
        pytest.raises(TrackingError, match="missing") as raised,
    ):
        Tracker(plan, journal)
    assert "secret" not in str(raised.value)
