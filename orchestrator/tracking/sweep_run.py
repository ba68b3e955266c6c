"""The run that stands for a whole sweep: its report, its tables and what was best.

It has no metric and is not on the page that compares the trials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from orchestrator.files import journal_errors
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan
from orchestrator.summary import TrialSummary
from orchestrator.tracking.best import best_trials
from orchestrator.tracking.registry import ALIAS, registered_name
from orchestrator.tracking.store import Store
from orchestrator.tracking.values import JOURNAL_TAG, sweep_tags

KIND = "sweep"
FILES_TAG = "dln.files"
NOTE_TAG = "mlflow.note.content"
FILES = ("report.html", "results.csv", "baselines.csv", "plan.json", "report/*.png")


class SweepRun:
    """Writes the run of a sweep.

    Args:
        store: Where it goes.
        plan: The sweep.
        journal: Its output folder.
    """

    def __init__(self, store: Store, plan: Plan, journal: Journal) -> None:
        self._store = store
        self._plan = plan
        self._journal = journal

    def write(self, summaries: Mapping[str, TrialSummary]) -> None:
        """Attach those files of the output folder that changed since they were attached.

        Raises:
            TrackingError: If the store is away.
            JournalError: If the folder cannot be read.
        """
        client, run_id, known = self._store.client, *self._find()
        files = self._files()
        note = self._note(summaries)
        with journal_errors(self._journal.out_dir):
            digest = _digest(files)
        if known.get(FILES_TAG) != digest:
            for path in files:
                folder = path.parent.relative_to(self._journal.out_dir)
                client.log_artifact(run_id, str(path), None if folder == Path() else str(folder))
            client.set_tag(run_id, FILES_TAG, digest)
        if known.get(NOTE_TAG) != note:
            client.set_tag(run_id, NOTE_TAG, note)
        is_done = all(summary.status == "finished" for summary in summaries.values())
        client.update_run(run_id, "FINISHED" if is_done else "KILLED")

    def _find(self) -> tuple[str, dict[str, str]]:
        """Return the run's id and tags; it is made where there is none."""
        client, experiment_id = self._store.client, self._store.experiment_id
        query = f"tags.`{JOURNAL_TAG}` = '{self._journal.id}' AND tags.kind = '{KIND}'"
        runs = client.search_runs([experiment_id], query)
        if runs:
            return runs[0].info.run_id, runs[0].data.tags
        tags = sweep_tags(self._plan, self._journal) | {"kind": KIND}
        run = client.create_run(experiment_id, tags=tags, run_name=f"{self._plan.sweep}: sweep")
        return run.info.run_id, run.data.tags

    def _files(self) -> list[Path]:
        out_dir = self._journal.out_dir
        return [path for pattern in FILES for path in sorted(out_dir.glob(pattern))]

    def _note(self, summaries: Mapping[str, TrialSummary]) -> str:
        lines = ["Best on dev by task; report and tables are among the artifacts.", ""]
        lines += ["| task | trial | dev accuracy | model |", "|---|---|---|---|"]
        for task, trial in best_trials(self._plan, summaries).items():
            name = registered_name(self._plan.sweep, task)
            dev_accuracy = summaries[trial.trial_id].dev_accuracy
            lines.append(f"| {task} | {trial.name} | {dev_accuracy} | `models:/{name}@{ALIAS}` |")
        return "\n".join(lines)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
