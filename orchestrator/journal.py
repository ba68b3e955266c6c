"""The journal of a sweep: an output folder with the records of its trials, written by one driver.

``orchestrator.trial_journal`` has the record of one trial.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dln_core.errors import ConfigError, JournalError
from orchestrator.code_version import git_commit
from orchestrator.files import journal_errors, read_json, to_json, write_atomic
from orchestrator.trial_journal import TrialJournal


class Journal:
    """An output folder: the records of a sweep's trials and of its reference points.

    Attributes:
        out_dir: The folder.
        id: Names this journal for good, also when the folder is moved. Empty where
            nothing has begun yet.
        git_commit: Of the working folder when the sweep began; None where it is not known.

    Raises:
        JournalError: If ``journal.json`` is there but does not tell the id, or cannot be read.
    """

    def __init__(self, out_dir: Path) -> None:
        self.out_dir = out_dir
        about = _read_about(out_dir / "journal.json")
        self.id: str = about.get("id", "")
        self.git_commit = about.get("git_commit")

    def require_sweep(self, action: str, planned: Collection[str]) -> None:
        """Make sure that an action on what was recorded finds a record of what is planned.

        Raises:
            JournalError: If the folder holds no sweep.
            ConfigError: If it holds trials, but none of those that are planned.
        """
        if not self.id:
            raise JournalError(
                f"{self.out_dir} holds no sweep for action={action}; run the command without it "
                "first, or give the out_dir of a sweep"
            )
        others = self.trials_beside(planned)
        # Their results would be replaced by rows of trials that were never run.
        if others and not any(self.folder(trial_id).exists() for trial_id in planned):
            raise ConfigError(
                f"{self.out_dir} holds {len(others)} trial(s), but none that action={action} was "
                "asked for; give the settings that ran them (they are in "
                f"{self.out_dir / 'trials' / '*' / 'config.yaml'}), or another out_dir"
            )

    def trials_beside(self, planned: Collection[str]) -> set[str]:
        """Return the ids of recorded trials that are not among the planned ones.

        Raises:
            JournalError: If the folder cannot be read.
        """
        folder = self.out_dir / "trials"
        with journal_errors(folder):
            recorded = {path.parent.name for path in folder.glob("*/config.yaml")}
        return recorded - set(planned)

    @classmethod
    @contextmanager
    def locked(cls, out_dir: Path) -> Iterator[Journal]:
        """Own the folder for writing, as the only driver.

        Raises:
            JournalError: If another driver owns it or the file system refuses.
        """
        path = out_dir / ".lock"
        with journal_errors(out_dir):
            out_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, out_dir)
            if not (out_dir / "journal.json").exists():
                about = {"id": uuid.uuid4().hex, "git_commit": git_commit()}
                write_atomic(out_dir / "journal.json", to_json(about) + "\n")
            yield cls(out_dir)
        finally:
            os.close(descriptor)

    def folder(self, trial_id: str) -> Path:
        """Return the folder of one trial."""
        return self.out_dir / "trials" / trial_id

    def read(self, trial_id: str) -> TrialJournal:
        """Read the record of one trial; see ``TrialJournal.read``."""
        return TrialJournal.read(self.folder(trial_id))

    def recover(self, trial_id: str) -> TrialJournal:
        """Take over the record of one trial; see ``TrialJournal.recover``."""
        return TrialJournal.recover(self.folder(trial_id))

    def baseline_ids(self) -> set[str]:
        """Return the ids of recorded reference points, complete or not.

        Raises:
            JournalError: If the folder cannot be read.
        """
        folder = self.out_dir / "baselines"
        with journal_errors(folder):
            return {path.name.partition(".")[0] for path in folder.glob("*.json")}

    def read_baselines(self, baseline_id: str) -> list[dict[str, Any]] | None:
        """Return the recorded reference points; None if they are not there."""
        rows: list[dict[str, Any]] | None = read_json(self._baseline_path(baseline_id))
        return rows

    def read_open_baselines(self, baseline_id: str) -> dict[str, Any] | None:
        """Return what was recorded with reference points that are not complete; None if they are.

        Those that were never begun are not complete either, and have nothing recorded.
        """
        left: dict[str, Any] | None = read_json(self._open_baselines_path(baseline_id))
        return left

    def write_baselines(
        self, baseline_id: str, rows: list[dict[str, Any]], left: dict[str, Any] | None = None
    ) -> None:
        """Record reference points.

        Args:
            baseline_id: Their identity.
            rows: Those that were measured.
            left: What is to be known of those that a budget left over; None if that is none.

        Raises:
            JournalError: If the file system refuses.
        """
        path, left_path = self._baseline_path(baseline_id), self._open_baselines_path(baseline_id)
        with journal_errors(path):
            path.parent.mkdir(exist_ok=True)
        # In this order a crash in between makes nothing look complete that is not.
        if left is not None:
            write_atomic(left_path, to_json(left) + "\n")
        write_atomic(path, to_json(rows) + "\n")
        if left is None:
            with journal_errors(left_path):
                left_path.unlink(missing_ok=True)

    def baseline_calls(self, baseline_id: str) -> Path:
        """Return the file of the calls that were logged for reference points."""
        return self._baseline_path(baseline_id).with_suffix(".calls.jsonl")

    def _baseline_path(self, baseline_id: str) -> Path:
        return self.out_dir / "baselines" / f"{baseline_id}.json"

    def _open_baselines_path(self, baseline_id: str) -> Path:
        return self._baseline_path(baseline_id).with_suffix(".open.json")


def _read_about(path: Path) -> dict[str, Any]:
    """Read what names a journal; nothing if there is none yet."""
    with journal_errors(path):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            about = None
    if isinstance(about, dict) and isinstance(about.get("id"), str) and about["id"]:
        return about
    raise JournalError(
        f"{path} was emptied or damaged and does not tell the folder's id; put it back from a "
        "backup, or delete it, after which answers that only this folder's store held are asked "
        "for again"
    )


def _lock(descriptor: int, out_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        raise JournalError(
            f"{out_dir} is in use by another driver (process {owner}); wait for it or stop it, "
            "or give another out_dir"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
