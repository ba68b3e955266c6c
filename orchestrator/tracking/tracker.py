"""MLflow as a projection of the journal: one writer, which can always catch up from the files.

A run's tag tells how many events of its trial are recorded, so that nothing is written twice and a
store that was away is completed later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dln_core.errors import TrackingError
from orchestrator.files import read_json, to_json
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary
from orchestrator.tracking.artifacts import artifacts_of
from orchestrator.tracking.best import best_trials
from orchestrator.tracking.registry import Registry
from orchestrator.tracking.store import Store
from orchestrator.tracking.sweep_run import SweepRun
from orchestrator.tracking.tasks import TaskBook
from orchestrator.tracking.traces import Traces
from orchestrator.tracking.values import (
    JOURNAL_TAG,
    event_metrics,
    flat_params,
    milliseconds,
    run_tags,
    status_tags,
)
from orchestrator.trial_journal import TrialJournal, read_events

if TYPE_CHECKING:
    from mlflow.entities import Metric

POSITION_TAG = "dln.recorded_events"
RUN_STATUS = {"finish": "FINISHED", "failed": "FAILED"}
# How a trial that no driver works on any more stands, by its journal; others were killed.
FINAL_STATUS = {"finished": "FINISHED", "failed": "FAILED"}
UI_ADDRESS = "http://127.0.0.1:5000"
# The last attempt at completing the record is made after all of them.
PAUSES_S = (1.0, 2.0, 4.0)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Content:
    """What the recorded events of a trial add up to, and the network of the last one."""

    totals: TrialSummary = field(default_factory=TrialSummary)
    network: dict[str, Any] | None = None

    def add(self, event: dict[str, Any]) -> None:
        self.totals.add(event)
        self.network = event.get("network", self.network)


@dataclass(slots=True)
class _TrackedRun:
    """A trial's run and how far it is written; ``content`` is None where it is not known."""

    run_id: str
    num_recorded: int
    status: str
    content: _Content | None = None


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
        self._store = Store.open(plan.run.tracking)
        self._tasks = TaskBook()
        self._traces = Traces(self._store, journal) if plan.run.tracking.traces else None
        self._runs: dict[str, _TrackedRun] = {}
        with self._store.errors():
            self._find_runs()

    def _find_runs(self, trial: PlannedTrial | None = None) -> None:
        """Look up the runs of this journal in the store: those of all trials, or of one."""
        query = f"tags.`{JOURNAL_TAG}` = '{self._journal.id}' AND tags.trial_id LIKE '%'"
        if trial is not None:
            query = f"tags.`{JOURNAL_TAG}` = '{self._journal.id}'"
            query += f" AND tags.trial_id = '{trial.trial_id}'"
        token = None
        while True:
            page = self._store.client.search_runs(
                [self._store.experiment_id], query, max_results=1000, page_token=token
            )
            for run in page:
                tags = run.data.tags
                self._runs[tags["trial_id"]] = _TrackedRun(
                    run.info.run_id, int(tags.get(POSITION_TAG, "0")), run.info.status
                )
            token = page.token
            if not token:
                return

    def catch_up(self, trial: PlannedTrial, num_events: int) -> None:
        """Write the events of a trial that its run lacks, up to the given number of events.

        Raises:
            TrackingError: If the store is away; nothing is lost, call again later.
        """
        if num_events == 0:
            return
        with self._store.errors():
            run = self._run_of(trial)
            if run.num_recorded > num_events:
                run.num_recorded, run.content = 0, None
            if run.num_recorded < num_events:
                self._write(trial, run, num_events)
            if self._traces is not None:
                self._traces.catch_up(trial, run.run_id, num_events)

    def _run_of(self, trial: PlannedTrial) -> _TrackedRun:
        if trial.trial_id not in self._runs:
            # A store that went away may have made the run without saying so.
            self._find_runs(trial)
        if trial.trial_id not in self._runs:
            self._runs[trial.trial_id] = self._create_run(trial)
        return self._runs[trial.trial_id]

    def _create_run(self, trial: PlannedTrial) -> _TrackedRun:
        first = next(read_events(self._journal.folder(trial.trial_id), 0, 1))
        run = self._store.client.create_run(
            self._store.experiment_id,
            start_time=milliseconds(first),
            tags=run_tags(self._plan, trial, self._journal),
            run_name=trial.name,
        )
        return _TrackedRun(run.info.run_id, 0, run.info.status)

    def _write(self, trial: PlannedTrial, run: _TrackedRun, num_events: int) -> None:
        # Put back at the end: after a failure it is ahead of what is recorded.
        content, run.content = run.content or self._read(trial, run.num_recorded), None
        if run.num_recorded == 0:
            facts = self._tasks.facts(trial.settings)
            self._store.client.log_inputs(run.run_id, datasets=[facts.dataset_input()])
        if run.status != "RUNNING":
            self._set_status(run, "RUNNING", None)
        metrics: list[Metric] = []
        files: dict[str, str] = {}
        folder = self._journal.folder(trial.trial_id)
        for event in read_events(folder, run.num_recorded, num_events):
            files |= artifacts_of(event, content.network)
            content.add(event)
            metrics += event_metrics(event, content.totals)
        self._store.log_files(run.run_id, files)
        # Last: the position must never be ahead of what it stands for.
        params = flat_params(trial.settings) if run.num_recorded == 0 else {}
        tags = {POSITION_TAG: str(num_events)} | status_tags(content.totals)
        self._store.log(run.run_id, metrics, params, tags)
        run.num_recorded = num_events
        if event["kind"] in RUN_STATUS:
            self._set_status(run, RUN_STATUS[event["kind"]], milliseconds(event))
        # Finished trials, of which there may be thousands, have no more to add.
        run.content = content if run.status == "RUNNING" else None

    def _read(self, trial: PlannedTrial, num_events: int) -> _Content:
        content = _Content()
        for event in read_events(self._journal.folder(trial.trial_id), 0, num_events):
            content.add(event)
        return content

    def _set_status(self, run: _TrackedRun, status: str, end_time: int | None) -> None:
        if end_time is None:
            self._store.client.update_run(run.run_id, status)
        else:
            self._store.client.set_terminated(run.run_id, status, end_time=end_time)
        run.status = status

    def complete(self, journals: Mapping[str, TrialJournal]) -> None:
        """Write all that is missing, the best networks and the sweep's own run.

        Runs that no driver works on any more are marked as killed.  A store that is away is waited
        for a little.

        Raises:
            TrackingError: If the store stays away.
        """
        for pause_s in PAUSES_S:
            try:
                self._complete(journals)
            except TrackingError as error:
                _log.warning("%s; trying again", error)
                time.sleep(pause_s)
            else:
                return
        self._complete(journals)

    def _complete(self, journals: Mapping[str, TrialJournal]) -> None:
        summaries = {key: journal.summary for key, journal in journals.items()}
        for trial in self._plan.trials:
            self.catch_up(trial, journals[trial.trial_id].num_events)
        with self._store.errors():
            for trial in self._plan.trials:
                self._settle(trial, journals[trial.trial_id])
            registry = Registry(self._store, self._plan.sweep, self._tasks)
            for trial in best_trials(self._plan, summaries).values():
                run_id = self._runs[trial.trial_id].run_id
                folder = self._journal.folder(trial.trial_id)
                registry.publish(trial, run_id, read_json(folder / "network.json"))
            SweepRun(self._store, self._plan, self._journal).write(summaries)

    def _settle(self, trial: PlannedTrial, journal: TrialJournal) -> None:
        """End a run that is still shown as running; a store may go away before it is told."""
        run = self._runs.get(trial.trial_id)
        if run is None or run.status != "RUNNING":
            return
        status = FINAL_STATUS.get(journal.summary.status)
        if status is None:
            self._set_status(run, "KILLED", None)
            return
        (last,) = read_events(journal.folder, journal.num_events - 1, journal.num_events)
        self._set_status(run, status, milliseconds(last))

    def _runs_in_plan(self) -> list[_TrackedRun]:
        runs = (self._runs.get(trial.trial_id) for trial in self._plan.trials)
        return [run for run in runs if run is not None]

    def compare_url(self) -> str:
        """Return the address of MLflow's page that compares the runs of this plan."""
        ids = to_json([run.run_id for run in self._runs_in_plan()])
        query = f"runs={quote(ids)}&experiments={quote(to_json([self._store.experiment_id]))}"
        return f"{self._ui}/#/compare-runs?{query}"

    def charts_url(self) -> str:
        """Return the address of the charts of the sweep's trials."""
        query = f"tags.kind = 'trial' AND tags.`{JOURNAL_TAG}` = '{self._journal.id}'"
        path = f"experiments/{self._store.experiment_id}/runs"
        return f"{self._ui}/#/{path}?searchFilter={quote(query)}&compareRunsMode=CHART"

    @property
    def _ui(self) -> str:
        uri = self._store.uri
        return uri.rstrip("/") if uri.startswith("http") else UI_ADDRESS
