"""Has the reference points of one task computed, and records them.

They get an allowance as training steps do.  What it did not suffice for is tried again with more of
the budget if that leaves more, and is else left to a run with a larger one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio.to_thread

from dln_core.baselines.run import Measured
from dln_core.config import TrialSettings
from dln_core.config.baselines import chosen_baselines
from dln_core.errors import BudgetError
from dln_core.llm.allowance import Amount
from orchestrator.accounts import ROOM, Exhausted
from orchestrator.actor import BaselineActor, Order
from orchestrator.call_files import collecting_calls
from orchestrator.cluster.local_server import with_addresses
from orchestrator.cluster.ray_cluster import ActorLostError, remote_errors
from orchestrator.jobs import BaselineJob
from orchestrator.journal import Journal
from orchestrator.trial_driver import Site

# With twice as much each time, it is no longer the estimate that is wrong.
MAX_ATTEMPTS = 8


async def compute_baselines(
    job: BaselineJob, names: Sequence[str], journal: Journal, site: Site
) -> None:
    """Compute and record the named reference points; a lost actor is replaced some times.

    Raises:
        ActorLostError: If actors were lost too often.
        BudgetError: If the budget did not suffice for all; those that are done are recorded.
        JournalError: If they cannot be recorded.
        DLNError: If they cannot be computed.
    """
    for num_deaths in itertools.count(1):
        # Read again each time: what was recorded before an actor was lost is done.
        points = await anyio.to_thread.run_sync(_recorded, job, names, journal)
        try:
            await _drive(job, points, journal, site, num_deaths)
            return
        except ActorLostError:
            if num_deaths > site.max_deaths:
                raise


@dataclass(slots=True)
class _Points:
    """The record of a task's reference points over all attempts.

    Attributes:
        missing: Names of those that are still to be measured.
        rows: Of the others.
        num_units: Attempts that were recorded.
        usage: What all of them asked for, by role.
        cost_usd: What they paid; None where a price is not known.
    """

    missing: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    num_units: int = 0
    usage: dict[str, dict[str, int]] = field(default_factory=dict)
    cost_usd: float | None = 0.0

    def add(self, measured: Measured) -> None:
        """Take in what an attempt came to."""
        self.missing, self.num_units = measured.missing, self.num_units + 1
        for role, counts in measured.usage.items():
            before = self.usage.get(role, {})
            self.usage[role] = {name: before.get(name, 0) + num for name, num in counts.items()}
        known = self.cost_usd is not None and measured.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (measured.cost_usd or 0.0) if known else None
        # Every row carries the usage of all.
        spent = {"usage": self.usage, "cost_usd": self.cost_usd}
        self.rows = [row | spent for row in [*self.rows, *measured.rows]]

    def write(self, journal: Journal, baseline_id: str) -> None:
        """Record them, complete or not."""
        left = {name: value for name, value in asdict(self).items() if name != "rows"}
        journal.write_baselines(baseline_id, self.rows, left if self.missing else None)


def _recorded(job: BaselineJob, names: Sequence[str], journal: Journal) -> _Points:
    left = journal.read_open_baselines(job.baseline_id)
    if left is None:
        return _Points(chosen_baselines(names))
    rows = journal.read_baselines(job.baseline_id) or []
    return _Points(rows=rows, **left | {"missing": tuple(left["missing"])})


async def _drive(
    job: BaselineJob, points: _Points, journal: Journal, site: Site, start: int
) -> None:
    """Measure what is missing with one actor, and record each attempt."""
    # The name of an actor that is lost is not free at once.
    again = f" ({start})" if start > 1 else ""
    actor_name = f"{job.name} · {job.baseline_id[:6]}{again}"
    actor = site.cluster.start_actor(BaselineActor, actor_name, job.name, site.services)
    try:
        settings = with_addresses(job.settings, await site.servers.addresses(actor))
        for attempt in range(MAX_ATTEMPTS):
            needed = job.expected.of(points.missing).times(ROOM**attempt)
            order = await _next_order(job, points, site, needed)
            path = journal.baseline_calls(job.baseline_id)
            async with collecting_calls(actor, site.services, path, {}):
                measured = await _measured(actor, settings, points, order, site)
            points.add(measured)
            # Shielded: what was asked for must not fall between the disk and the budget.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(points.write, journal, job.baseline_id)
            site.budget.add({"usage": measured.usage, "cost_usd": measured.cost_usd})
            if not points.missing:
                return
    finally:
        site.cluster.stop_actor(actor)
    raise BudgetError(_told(points, "their part of the budget"))


async def _measured(
    actor: Any, settings: TrialSettings, points: _Points, order: Order, site: Site
) -> Measured:
    materials = await site.materials.of(settings)
    with remote_errors():
        measured: Measured = await actor.run.remote(settings, points.missing, materials, order)
    return measured


async def _next_order(job: BaselineJob, points: _Points, site: Site, needed: Amount) -> Order:
    # A recorded attempt has paid its bill, so that the next one is another unit.
    number = f" {points.num_units}" if points.num_units else ""
    unit = f"{site.services.store} {job.baseline_id}{number}"
    granted = await site.budget.next_points(job.key, needed)
    if isinstance(granted, Exhausted):
        raise BudgetError(_told(points, str(granted)))
    if granted is None:
        return Order(state="null", unit=unit)
    return Order(state="null", unit=unit, amount=granted.amount, seconds=granted.seconds)


def _told(points: _Points, bound: str) -> str:
    return (
        f"stopped: {bound} does not leave what {', '.join(points.missing)} may take; what "
        "is done is kept, and the same command with a larger budget goes on"
    )
