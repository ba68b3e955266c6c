"""Drives one trial: pulls its steps from an actor, records each, and starts it again if need be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio.to_thread

from dln_core.config import TrialSettings
from dln_core.errors import JournalError
from dln_core.trial import Services
from orchestrator.actor import TrialActor
from orchestrator.budget import Budget
from orchestrator.call_files import CALLS_FILE, collecting_calls
from orchestrator.cluster import ActorLostError, Cluster, remote_errors
from orchestrator.failures import describe, may_retry
from orchestrator.files import to_json
from orchestrator.journal import TrialJournal
from orchestrator.plan import PlannedTrial
from orchestrator.resuming import Begun


class Observer(Protocol):
    """Whoever follows a sweep: the view on the terminal, the tracker."""

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Take note that a trial entered a phase: ``starting``, ``running`` or ``failed``."""
        ...

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Take note of a journalled event, the last of ``num_events``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all trials of a sweep share while it runs.

    Attributes:
        cluster: Where actors are placed.
        max_deaths: How often a trial whose actor died is started again.
        services: How calls are carried out.
        budget: What the sweep may use.
        observers: Told of every event once it is on disk.
        actors: The living actors by ``trial_id``.
    """

    cluster: Cluster
    max_deaths: int
    services: Services
    budget: Budget
    observers: tuple[Observer, ...]
    actors: dict[str, Any] = field(default_factory=dict)


class TrialDriver:
    """Runs one trial to its end.

    Args:
        trial: The trial.
        settings: Its settings with the addresses of local model servers filled in.
        journal: Its record, taken over for writing.
        site: What it shares with the other trials.
    """

    def __init__(
        self, trial: PlannedTrial, settings: TrialSettings, journal: TrialJournal, site: Site
    ) -> None:
        self._trial = trial
        self._settings = settings
        self._journal = journal
        self._site = site
        self._has_progressed = False

    async def run(self) -> None:
        """Pull steps until the trial is finished; a failure is recorded, then raised.

        Raises:
            JournalError: If the output folder cannot be written; nothing is recorded then.
            DLNError: What ended the trial.
        """
        num_deaths = num_retries = 0
        while True:
            self._announce("starting")
            await anyio.to_thread.run_sync(self._journal.begin, self._trial.settings)
            try:
                await self._pull_all()
                return
            except JournalError:
                raise
            except ActorLostError as error:
                num_deaths += 1
                if num_deaths > self._site.max_deaths:
                    await self._record_failure(error)
                    raise
            except Exception as error:  # the trial boundary: a failure becomes a recorded outcome
                if not may_retry(error, num_retries, self._has_progressed):
                    await self._record_failure(error)
                    raise
                num_retries += 1

    async def _pull_all(self) -> None:
        trial, site, epoch = self._trial, self._site, self._journal.epoch
        restart = f" ({epoch})" if epoch > 1 else ""
        actor = site.cluster.start_actor(
            TrialActor,
            f"{trial.name} · {trial.trial_id[:6]}{restart}",
            trial.name,
            epoch,
            self._settings,
            site.services,
            Begun.of(self._journal.summary),
        )
        site.actors[trial.trial_id] = actor
        try:
            actor.hold.remote()
            while self._journal.summary.status != "finished":
                await self._pull(actor)
            with remote_errors():
                await actor.close.remote()
        finally:
            site.actors.pop(trial.trial_id, None)
            site.cluster.stop_actor(actor)

    async def _pull(self, actor: Any) -> None:
        finish = self._site.budget.is_exhausted()
        path = self._journal.folder / CALLS_FILE
        stamp = {"epoch": self._journal.epoch, "step": self._journal.summary.steps}
        async with collecting_calls(actor, self._site.services, path, stamp):
            with remote_errors():
                answer = await actor.advance.remote(to_json(self._journal.state), finish)
        values = json.loads(answer)
        await self._record(values["event"], values["state"])
        self._has_progressed = True
        self._site.budget.add(values["event"])

    async def _record(self, event: dict[str, Any], state: dict[str, Any] | None) -> None:
        # Shielded: an interrupt must not fall between the disk and those who are told of it.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._journal.append, event, state)
        for observer in self._site.observers:
            observer.recorded(self._trial, event, self._journal.num_events)

    async def _record_failure(self, error: Exception) -> None:
        event = {
            "kind": "failed",
            "step": self._journal.summary.steps,
            "error": describe(error),
            "error_type": type(error).__name__,
            "traceback": "\n".join(getattr(error, "__notes__", ())),
            "epoch": self._journal.epoch,
            "time": time.time(),
        }
        await self._record(event, self._journal.state)
        self._announce("failed")

    def _announce(self, phase: str) -> None:
        for observer in self._site.observers:
            observer.moved(self._trial, phase)
