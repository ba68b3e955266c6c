"""The record of one trial: its events, one a line, and the state from which training goes on.

``state.json`` says how many of the events count.  An event is appended before the state is
replaced, so what lies beyond the state after a crash is dropped and computed again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import yaml

from dln_core.config import TrialSettings
from dln_core.errors import JournalError
from orchestrator.files import append_line, journal_errors, read_json, to_json, write_atomic
from orchestrator.summary import WORK, TrialSummary

_log = logging.getLogger(__name__)


class DamagedJournalError(JournalError):
    """Events that the state counts on are missing or unreadable."""


def read_events(folder: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Yield a trial's events from position ``start`` up to, not with, ``stop``.

    Raises:
        DamagedJournalError: If one of them is missing or is not JSON.
    """
    if stop <= start:
        return
    path = folder / "events.jsonl"
    position = 0
    with journal_errors(path), path.open("rb") as file:
        for line in file:
            if position >= start:
                try:
                    yield orjson.loads(line)
                except ValueError as error:
                    raise DamagedJournalError(f"line {position + 1} of {path} is broken") from error
            position += 1
            if position == stop:
                return
    raise DamagedJournalError(f"{path} holds {position} events but {stop} were recorded")


class TrialJournal:
    """The record of one trial.

    Attributes:
        epoch: Raised at every start of the trial; events of an older one are refused.
        num_events: Events that count.
        state: What training goes on from; None before the first event.
        summary: What the events add up to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = 0
        self.num_events = 0
        self.state: dict[str, Any] | None = None
        self.summary = TrialSummary()

    @classmethod
    def read(cls, folder: Path) -> TrialJournal:
        """Read a trial's record without changing it; an absent one is empty.

        Raises:
            DamagedJournalError: If recorded events are missing or broken.
            JournalError: If the file system refuses.
        """
        journal = cls(folder)
        saved = read_json(folder / "state.json")
        if saved is None:
            if (folder / "state.json").exists():
                raise DamagedJournalError(f"{folder / 'state.json'} is broken")
            return journal
        journal.epoch, journal.state = saved["epoch"], saved["state"]
        for event in read_events(folder, 0, saved["num_events"]):
            journal.summary.add(event)
        journal.num_events = saved["num_events"]
        return journal

    @classmethod
    def recover(cls, folder: Path) -> TrialJournal:
        """Read a trial's record and cut what a crash left beyond it.

        A record that is damaged is put aside and the trial starts again, from its stored answers.

        Raises:
            JournalError: If the file system refuses.
        """
        try:
            journal = cls.read(folder)
        except DamagedJournalError as error:
            _log.warning("%s; the trial is computed again from its stored answers", error)
            journal = cls(folder)
            with journal_errors(folder):
                for path in (folder / "events.jsonl", folder / "state.json"):
                    if path.exists():
                        path.replace(path.with_suffix(f".damaged{path.suffix}"))
        journal._cut()
        return journal

    def _cut(self) -> None:
        path = self.folder / "events.jsonl"
        if not path.exists():
            return
        with journal_errors(path), path.open("rb+") as file:
            for _ in range(self.num_events):
                file.readline()
            end = file.tell()
            beyond = file.read()
            if beyond:
                file.truncate(end)
        if beyond and not beyond.endswith(b"\n"):
            _log.warning("%s ended in half a line, which is cut and computed again", path)

    def begin(self, settings: TrialSettings) -> int:
        """Start the trial, or start it again: raise the epoch and return it.

        Raises:
            JournalError: If the file system refuses.
        """
        with journal_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        if not config.exists():
            write_atomic(config, yaml.safe_dump(asdict(settings), sort_keys=False))
        self.epoch += 1
        self._write_state()
        return self.epoch

    def append(self, event: dict[str, Any], state: dict[str, Any] | None) -> None:
        """Record an event with the state that follows it; when this returns, both are on disk.

        Raises:
            JournalError: If the event's epoch is not the running one, or the file system refuses.
        """
        if event["epoch"] != self.epoch:
            raise JournalError(
                f"an event of epoch {event['epoch']} arrived for {self.folder.name}, which runs in "
                f"epoch {self.epoch}; it is refused because a newer start owns the trial"
            )
        append_line(self.folder / "events.jsonl", to_json(event))
        if event["kind"] in WORK:
            write_atomic(self.folder / "network.json", _indented(_network_of(event)))
        if event["kind"] == "finish":
            lines = [to_json(item) + "\n" for item in event["predictions"]]
            write_atomic(self.folder / "predictions.jsonl", "".join(lines))
        self.num_events += 1
        self.state = state
        self._write_state()
        self.summary.add(event)

    def release(self) -> None:
        """Forget what is only needed while the trial runs, or is read again from its files."""
        self.state = None
        self.summary.release(self.folder / "predictions.jsonl")

    def _write_state(self) -> None:
        saved = {"epoch": self.epoch, "num_events": self.num_events, "state": self.state}
        write_atomic(self.folder / "state.json", to_json(saved) + "\n")


def _network_of(event: dict[str, Any]) -> dict[str, Any]:
    network: dict[str, Any] = event.get("best_network") or event["network"]
    return network


def _indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
