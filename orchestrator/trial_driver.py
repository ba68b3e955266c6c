"""Drives one trial: pulls its steps from an actor, records each, and starts it again if need be."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import anyio.to_thread

from dln_core.errors import BudgetError, JournalError
from dln_core.trial import Services
from orchestrator.accounts import Exhausted
from orchestrator.actor import Order, TrialActor
from orchestrator.budget import Budget, Grant
from orchestrator.call_files import CALLS_FILE, collecting_calls
from orchestrator.cluster.materials import MaterialsStore
from orchestrator.cluster.node_servers import NodeServers
from orchestrator.cluster.ray_cluster import ActorLostError, Cluster, remote_errors
from orchestrator.failures import describe, may_retry
from orchestrator.files import to_json
from orchestrator.planning.plan import PlannedTrial
from orchestrator.resuming import Begun
from orchestrator.trial_journal import TrialJournal


class Pruner(Protocol):
    """Ends trials early that do worse than others."""

    def prunes(self, trial_id: str) -> bool:
        """Tell whether a trial is to end after its last event."""
        ...


class Observer(Protocol):
    """Whoever follows a sweep: the view on the terminal, the tracker."""

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Take note that a trial entered a phase: ``starting``, ``failed`` or again ``waiting``."""
        ...

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Take note of a journalled event of any kind, the last of ``num_events``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all trials of a sweep share while it runs.

    Attributes:
        cluster: Where actors are placed.
        max_deaths: How often a trial whose actor died is started again.
        services: How calls are carried out.
        servers: Where local models are served.
        materials: What trials read from the driver's disk.
        budget: What the sweep may use.
        pruner: Ends trials early; None lets all train to their end.
        observers: Told of every event once it is on disk.
        actors: The living actors by ``trial_id``.
    """

    cluster: Cluster
    max_deaths: int
    services: Services
    servers: NodeServers
    materials: MaterialsStore
    budget: Budget
    observers: tuple[Observer, ...]
    pruner: Pruner | None = None
    actors: dict[str, Any] = field(default_factory=dict)


class TrialDriver:
    """Runs one trial to its end.

    Args:
        trial: The trial.
        journal: Its record, taken over for writing.
        site: What it shares with the other trials.
    """

    def __init__(self, trial: PlannedTrial, journal: TrialJournal, site: Site) -> None:
        self._trial = trial
        self._journal = journal
        self._site = site
        self._has_progressed = False

    async def run(self) -> None:
        """Pull steps until the trial is finished; a failure is recorded, then raised.

        Raises:
            JournalError: If the output folder cannot be written; nothing is recorded then.
            BudgetError: If a bound leaves less than the trial needs to be tested; it stays
                unfinished.
            DLNError: What ended the trial.
        """
        num_deaths = num_retries = 0
        while True:
            self._announce("starting")
            await anyio.to_thread.run_sync(self._journal.begin, self._trial.settings)
            if self._is_taken_up_again():
                await self._note("reopen")
            try:
                await self._pull_all()
                return
            except JournalError:
                raise
            except BudgetError:
                self._announce("waiting")
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

    def _is_taken_up_again(self) -> bool:
        """Whether its training was stopped by a bound that has been lifted since."""
        summary = self._journal.summary
        if summary.status == "finished":
            return True  # else it would not be driven
        return summary.stop is not None and self._site.budget.has_lifted(summary.stop)

    async def _pull_all(self) -> None:
        trial, site, epoch = self._trial, self._site, self._journal.epoch
        restart = f" ({epoch})" if epoch > 1 else ""
        actor = site.cluster.start_actor(
            TrialActor,
            f"{trial.name} · {trial.trial_id[:6]}{restart}",
            trial.name,
            epoch,
            trial.settings,
            site.services,
            Begun.of(self._journal.summary),
            await site.materials.of(trial.settings),
            resources=trial.resources,
        )
        site.actors[trial.trial_id] = actor
        try:
            actor.hold.remote(await site.servers.addresses(actor))
            while self._journal.summary.status != "finished":
                await self._pull(actor, await self._next_order())
            with suppress(ActorLostError), remote_errors():  # all that it did is on disk
                await actor.close.remote()
        finally:
            site.actors.pop(trial.trial_id, None)
            site.cluster.stop_actor(actor)

    async def _next_order(self) -> Order:
        """Decide what the trial does next; a decision to stop is on disk before it is acted on."""
        budget, trial_id, work = self._site.budget, self._trial.trial_id, self._next_work()
        if work == "start":
            return self._order(work, await budget.next_start(trial_id))
        if work == "step":
            pruner = self._site.pruner
            if pruner is not None and pruner.prunes(trial_id):
                stop: dict[str, Any] = {"reason": "pruned", "bound": None, "value": None}
            else:
                granted = await budget.next_step(trial_id)
                if not isinstance(granted, Exhausted):
                    return self._order(work, granted)
                stop = {"reason": "budget", "bound": granted.bound, "value": granted.value}
            await self._note("stop", **stop)
        return self._order("test", await budget.next_test(trial_id))

    def _order(self, work: str, granted: Grant | Exhausted | None) -> Order:
        if isinstance(granted, Exhausted):
            part = "first validation" if work == "start" else work
            raise BudgetError(
                f"stopped: {granted} does not leave what its {part} may take; what is done is "
                "kept, and the same command with a larger budget goes on"
            )
        summary = self._journal.summary
        number = f"unit {summary.num_units}"
        if work == "test":
            # Steps may come between a test that was lost and the one that follows it.
            num_given_up = summary.given_up["finish"]
            number = f"test {summary.test_looks}" + (f".{num_given_up}" if num_given_up else "")
        unit = f"{self._site.services.store} {self._trial.trial_id} {number}"
        stop = None if summary.stop is None else summary.stop["reason"]
        order = Order(state=to_json(self._journal.state), unit=unit, stop=stop)
        if granted is None:
            return order
        return replace(order, amount=granted.amount, seconds=granted.seconds)

    def _next_work(self) -> str:
        if self._journal.state is None:
            return "start"
        is_test = self._journal.summary.stop is not None or not self._has_steps_left()
        return "test" if is_test else "step"

    def _has_steps_left(self) -> bool:
        settings, state = self._trial.settings, self._journal.state
        if state is None or not settings.network.is_trained:
            return False
        patience = settings.trainer.patience
        has_stalled = patience is not None and state["num_stale"] >= patience
        return self._journal.summary.steps < settings.trainer.num_iterations and not has_stalled

    async def _pull(self, actor: Any, order: Order) -> None:
        path = self._journal.folder / CALLS_FILE
        stamp = {"epoch": self._journal.epoch, "step": self._journal.summary.steps}
        async with collecting_calls(actor, self._site.services, path, stamp):
            with remote_errors():
                answer = await actor.advance.remote(order)
        values = json.loads(answer)
        # An event of work that was given up has no step of its own.
        event = {"step": self._journal.summary.steps, **values["event"]}
        await self._record(event, values["state"])
        self._has_progressed = True
        self._site.budget.record(self._trial.trial_id, event)

    async def _note(self, kind: str, **values: Any) -> None:
        """Record what becomes of the trial, at the state that it is in."""
        event = {"kind": kind, "step": self._journal.summary.steps, **values}
        stamp = {"epoch": self._journal.epoch, "time": time.time()}
        await self._record(event | stamp, self._journal.state)

    async def _record(self, event: dict[str, Any], state: dict[str, Any] | None) -> None:
        # Shielded: an interrupt must not fall between the disk and those who are told of it.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._journal.append, event, state)
        for observer in self._site.observers:
            observer.recorded(self._trial, event, self._journal.num_events)

    async def _record_failure(self, error: Exception) -> None:
        await self._note(
            "failed",
            error=describe(error),
            error_type=type(error).__name__,
            traceback="\n".join(getattr(error, "__notes__", ())),
        )
        self._announce("failed")

    def _announce(self, phase: str) -> None:
        for observer in self._site.observers:
            observer.moved(self._trial, phase)
