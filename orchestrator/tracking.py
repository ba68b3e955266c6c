"""MLflow as a projection of the journal: one writer, which can always catch up from the files.

A run's tag tells how many events of its trial are recorded, so that nothing is written twice and a
store that was away is completed later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dln_core.errors import TrackingError
from orchestrator.console import say
from orchestrator.files import to_json
from orchestrator.journal import Journal, TrialJournal, read_events
from orchestrator.pages import candidates_table, network_page, prompts_page
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.schema import TrackingConfig
from orchestrator.summary import TrialSummary
from orchestrator.tracking_check import check_store, sqlite_path, without_password
from orchestrator.tracking_values import event_metrics, flat_params, milliseconds

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

POSITION_TAG = "dln.recorded_events"
JOURNAL_TAG = "dln.journal"
RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED"}
UI_ADDRESS = "http://127.0.0.1:5000"
MOST_RUNS_IN_PRINTED_URL = 40

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into a ``TrackingError`` of one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrackingError(
            f"tracking.uri={without_password(uri)} cannot be used ({reason}); complete the record "
            "later with action=sync, or give another tracking.uri"
        ) from error


@dataclass(slots=True)
class _TrackedRun:
    """A trial's run and how far it is written; ``totals`` is None until first needed."""

    run_id: str
    num_recorded: int
    status: str
    totals: TrialSummary | None = None


class Tracker:
    """Writes the journal of one sweep to one MLflow experiment.

    Blocks, so it belongs in a thread of its own.

    Args:
        plan: Whose trials are recorded.
        journal: Where their events are.

    Raises:
        TrackingError: If the store is locked, foreign or out of reach.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        self._config = plan.run.tracking
        check_store(self._config.uri)
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)

        with store_errors(self._config.uri):
            self._client = MlflowClient(_absolute(self._config.uri))
            self._experiment_id = _experiment_id(self._client, self._config)
            self._runs = {
                run.data.tags["trial_id"]: _TrackedRun(
                    run.info.run_id,
                    int(run.data.tags.get(POSITION_TAG, "0")),
                    run.info.status,
                )
                for run in self._known_runs()
            }

    def _known_runs(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{JOURNAL_TAG}` = '{self._journal.id}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def catch_up(self, trial: PlannedTrial, num_events: int) -> None:
        """Write the events of a trial that its run lacks, up to the given number of events.

        Raises:
            TrackingError: If the store is away; nothing is lost, call again later.
        """
        with store_errors(self._config.uri):
            run = self._runs.get(trial.trial_id)
            if num_events == 0 or (run is not None and run.num_recorded == num_events):
                return
            if run is None:
                run = self._runs[trial.trial_id] = self._create_run(trial)
            if run.num_recorded > num_events:
                run.num_recorded, run.totals = 0, None
            self._write(trial, run, num_events)

    def _write(self, trial: PlannedTrial, run: _TrackedRun, num_events: int) -> None:
        folder = self._journal.folder(trial.trial_id)
        if run.totals is None:
            run.totals = TrialSummary()
            for event in read_events(folder, 0, run.num_recorded):
                run.totals.add(event)
        if run.status != "RUNNING":
            self._set_status(run, "RUNNING", None)
        for event in read_events(folder, run.num_recorded, num_events):
            run.totals.add(event)
            self._write_artifacts(run.run_id, event)
            self._write_event(trial, run, event, run.totals)
            if event["kind"] in ("finish", "failed"):
                self._set_status(run, RUN_STATUS[run.totals.status], milliseconds(event))

    def _set_status(self, run: _TrackedRun, status: str, end_time: int | None) -> None:
        if end_time is None:
            self._client.update_run(run.run_id, status)
        else:
            self._client.set_terminated(run.run_id, status, end_time=end_time)
        run.status = status

    def _create_run(self, trial: PlannedTrial) -> _TrackedRun:
        first = next(read_events(self._journal.folder(trial.trial_id), 0, 1))
        tags = {
            "sweep": self._plan.sweep,
            "trial_id": trial.trial_id,
            "task": trial.settings.task.name,
            "network": trial.settings.network.name,
            "seed": str(trial.settings.seed),
            "preset": trial.settings.trainer.preset,
            JOURNAL_TAG: self._journal.id,
        }
        run = self._client.create_run(
            self._experiment_id, start_time=milliseconds(first), tags=tags, run_name=trial.name
        )
        return _TrackedRun(run.info.run_id, 0, run.info.status)

    def _write_event(
        self, trial: PlannedTrial, run: _TrackedRun, event: dict[str, Any], totals: TrialSummary
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags = {POSITION_TAG: str(run.num_recorded + 1), "status": totals.status}
        tags |= {"rung": totals.rung or "", "error": totals.error or ""}
        params = flat_params(trial.settings) if run.num_recorded == 0 else {}
        metrics = event_metrics(event, totals)
        # One call: the position must never be ahead of the figures it stands for.
        self._client.log_batch(
            run.run_id,
            metrics=[
                Metric(name, value, milliseconds(event), event["step"])
                for name, value in metrics.items()
            ],
            params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        run.num_recorded += 1

    def _write_artifacts(self, run_id: str, event: dict[str, Any]) -> None:
        log_text, step = self._client.log_text, f"step_{event['step']:03d}"
        if event["kind"] in ("start", "step"):
            log_text(run_id, prompts_page(event), f"prompts/{step}.md")
        if event["kind"] == "step":
            table = candidates_table(event["candidates"])
            log_text(run_id, to_json(table), f"candidates/{step}.json")
        if event["kind"] == "finish":
            network = event["best_network"]
            log_text(run_id, to_json(network), "network.json")
            log_text(run_id, network_page("The best network", network), "best_prompt.md")
            log_text(run_id, to_json(event["predictions"]), "predictions.json")

    def complete(self, journals: Mapping[str, TrialJournal]) -> None:
        """Write all that is missing; runs that no driver works on any more are marked as killed.

        Raises:
            TrackingError: If the store is away.
        """
        for trial in self._plan.trials:
            journal = journals[trial.trial_id]
            self.catch_up(trial, journal.num_events)
            run = self._runs.get(trial.trial_id)
            if run is not None and run.status == "RUNNING":
                with store_errors(self._config.uri):
                    self._set_status(run, "KILLED", None)

    def compare_url(self) -> str:
        """Return the address of MLflow's page that compares the runs of this plan."""
        runs = [self._runs.get(trial.trial_id) for trial in self._plan.trials]
        ids = to_json([run.run_id for run in runs if run is not None])
        query = f"runs={quote(ids)}&experiments={quote(to_json([self._experiment_id]))}"
        base = self._config.uri if self._config.uri.startswith("http") else UI_ADDRESS
        return f"{without_password(base).rstrip('/')}/#/compare-runs?{query}"


def _absolute(uri: str) -> str:
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


def _experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        path = sqlite_path(config.uri)
        # Beside the database, so that both can be moved and found together.
        location = None if path is None else str(path.parent / "mlartifacts" / config.experiment)
        # With this kind the UI opens on the table of runs and their charts, not on traces.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(config.experiment, location, tags))
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {config.experiment} was deleted; restore it with `mlflow "
            "experiments restore`, or give another tracking.experiment"
        )
    return str(experiment.experiment_id)


def sync(plan: Plan) -> int:
    """Complete the tracking store from the journals of a sweep; return the exit code.

    Raises:
        TrackingError: If the store is locked, foreign or out of reach.
        JournalError: If the folder holds no sweep, a driver is at work in it or it cannot be read.
    """
    Journal(plan.out_dir).require_sweep("sync")
    with Journal.locked(plan.out_dir) as journal:
        tracker = Tracker(plan, journal)
        tracker.complete({trial.trial_id: journal.read(trial.trial_id) for trial in plan.trials})
    say(f"the record in {without_password(plan.run.tracking.uri)} is complete")
    say_where(plan, tracker)
    return 0


def say_where(plan: Plan, tracker: Tracker) -> None:
    """Tell how to look at the runs."""
    uri = plan.run.tracking.uri
    if not uri.startswith("http"):
        say(f"look at the runs with: mlflow ui --backend-store-uri {without_password(uri)}")
    if len(plan.trials) <= MOST_RUNS_IN_PRINTED_URL:
        say(f"compare them at: {tracker.compare_url()}")
    else:
        say(f"compare them by the link in {plan.out_dir / 'report.html'}")
