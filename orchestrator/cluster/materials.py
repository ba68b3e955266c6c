"""What a trial reads from the driver's disk: nodes share no disk, so it is sent along."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from dln_core.config import TrialSettings
from dln_core.errors import ConfigError
from dln_core.tasks import Task, load_task
from orchestrator.cluster.ray_cluster import Cluster


@dataclass(frozen=True, slots=True)
class Materials:
    """What a trial reads from a disk.

    Attributes:
        task: Its task.
        network: Content of the file that ``network.init`` names; None where it names none.
    """

    task: Task
    network: str | None

    @classmethod
    def read(cls, settings: TrialSettings) -> Materials:
        """Read it on the driver's machine.

        Raises:
            ConfigError: If the network cannot be read.
            DataError: If the task's data is missing.
        """
        init = settings.network.init
        try:
            network = None if init is None else Path(init).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"network.init={init} cannot be read ({error}); give the network.json of a trial"
            ) from error
        return cls(load_task(settings.task, settings.data), network)

    @contextmanager
    def laid_out(self, settings: TrialSettings) -> Iterator[TrialSettings]:
        """Give settings whose ``network.init`` is a file of this machine while the block lasts."""
        if self.network is None:
            yield settings
            return
        with tempfile.TemporaryDirectory(prefix="dln-") as folder:
            path = Path(folder, "network.json")
            path.write_text(self.network, encoding="utf-8")
            yield replace(settings, network=replace(settings.network, init=str(path)))


class MaterialsStore:
    """Reads what trials need, once for all that need the same, and shares it with all nodes.

    Args:
        cluster: Where the actors are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._shared: dict[str, Any] = {}
        self._turn = anyio.Lock()

    async def of(self, settings: TrialSettings) -> Any:
        """Return what stands for a trial's ``Materials`` among the arguments of an actor.

        Raises:
            ConfigError: If a network cannot be read.
            DataError: If the task's data is missing.
        """
        key = repr((settings.task, settings.data, settings.network.init))
        async with self._turn:
            if key not in self._shared:
                materials = await anyio.to_thread.run_sync(Materials.read, settings)
                self._shared[key] = self._cluster.share(materials)
        return self._shared[key]
