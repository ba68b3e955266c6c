"""Has the reference points of one task computed, and records them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import anyio.to_thread

from orchestrator.actor import BaselineActor
from orchestrator.call_files import collecting_calls
from orchestrator.cluster.local_server import with_addresses
from orchestrator.cluster.ray_cluster import ActorLostError, remote_errors
from orchestrator.jobs import BaselineJob
from orchestrator.journal import Journal
from orchestrator.trial_driver import Site


async def compute_baselines(
    job: BaselineJob, names: Sequence[str], journal: Journal, site: Site
) -> None:
    """Compute and record the named reference points; a lost actor is replaced some times.

    Raises:
        ActorLostError: If actors were lost too often.
        JournalError: If they cannot be recorded.
        DLNError: If they cannot be computed.
    """
    for num_deaths in itertools.count(1):
        try:
            rows = await _measured(job, names, journal, site, num_deaths)
            break
        except ActorLostError:
            if num_deaths > site.max_deaths:
                raise
    await anyio.to_thread.run_sync(journal.write_baselines, job.baseline_id, rows)
    for row in rows[:1]:  # every row carries the usage of all
        site.budget.add(row)


async def _measured(
    job: BaselineJob, names: Sequence[str], journal: Journal, site: Site, attempt: int
) -> list[dict[str, Any]]:
    materials = await site.materials.of(job.settings)
    # The name of an actor that is lost is not free at once.
    again = f" ({attempt})" if attempt > 1 else ""
    actor_name = f"{job.name} · {job.baseline_id[:6]}{again}"
    actor = site.cluster.start_actor(BaselineActor, actor_name, job.name, site.services)
    path = journal.baseline_calls(job.baseline_id)
    unit = f"{site.services.store} {job.baseline_id}"
    try:
        settings = with_addresses(job.settings, await site.servers.addresses(actor))
        async with collecting_calls(actor, site.services, path, {}):
            with remote_errors():
                rows: list[dict[str, Any]] = await actor.run.remote(
                    settings, names, materials, unit
                )
    finally:
        site.cluster.stop_actor(actor)
    return rows
