"""Keeps the tracking store up with a running sweep."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.to_thread

from dln_core.errors import TrackingError
from orchestrator.planning.plan import PlannedTrial
from orchestrator.tracking.tracker import Tracker

BATCH_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class TrackingFeed:
    """Feeds journalled events to a tracker; a store that is away delays the record alone."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._behind: dict[str, tuple[PlannedTrial, int]] = {}
        self._news = anyio.Event()

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Ignore phases: MLflow holds what the journal holds."""

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Note that a run is behind its journal."""
        self._behind[trial.trial_id] = (trial, num_events)
        self._news.set()

    async def run(self) -> None:
        """Write what is behind, in batches, until cancelled."""
        pause_s = BATCH_PAUSE_S
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            behind, self._behind = self._behind, {}
            try:
                await anyio.to_thread.run_sync(self._write, list(behind.values()))
                pause_s = BATCH_PAUSE_S
            except TrackingError as error:
                _log.warning("%s; training goes on", error)
                self._behind = behind | self._behind
                self._news.set()
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            await anyio.sleep(pause_s)

    def _write(self, behind: list[tuple[PlannedTrial, int]]) -> None:
        for trial, num_events in behind:
            self._tracker.catch_up(trial, num_events)
