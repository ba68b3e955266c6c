"""Holding a resumed trial to the way in which it began to score texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from dln_core.config import TrialSettings
from dln_core.errors import ScoringError
from dln_core.trial import Services, Trial
from orchestrator.summary import TrialSummary


@dataclass(frozen=True, slots=True)
class Begun:
    """How a trial scores since its first event; None where it has none yet.

    Attributes:
        rung: Rung of the scoring ladder that its endpoint was on.
        api: ``chat`` or ``completions``.
    """

    rung: str | None = None
    api: str | None = None

    @classmethod
    def of(cls, summary: TrialSummary) -> Begun:
        """Read it from what a trial's events add up to."""
        return cls(summary.endpoint_rung, summary.api)

    def settings(self, settings: TrialSettings) -> TrialSettings:
        """Hold settings to it, for scores of two rungs do not compare."""
        if self.rung is None or self.api is None:
            return settings
        return replace(
            settings,
            llm=replace(settings.llm, api=self.api),
            scoring=replace(settings.scoring, rung=self.rung),
        )


@asynccontextmanager
async def open_trial(
    settings: TrialSettings, services: Services, begun: Begun
) -> AsyncIterator[Trial]:
    """Open a trial that may have begun before.

    Raises:
        ScoringError: If it has begun, and its texts can no longer be scored as they were.
        DLNError: If it cannot be opened for another reason.
    """
    async with AsyncExitStack() as stack:
        opening = Trial.open(begun.settings(settings), services)
        try:
            trial = await stack.enter_async_context(opening)
        except ScoringError as error:
            if begun.rung is None:
                raise
            raise ScoringError(
                f"the trial began with {settings.llm.model} on the scoring rung {begun.rung}, but "
                f"this is gone ({error}), and scores of two rungs do not compare; bring the "
                "endpoint back to what it offered, or begin anew in another out_dir"
            ) from error
        yield trial
