"""Holding a resumed trial to the way in which it began to score texts and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from dln_core.config import TrialSettings
from dln_core.errors import ScoringError
from dln_core.tasks import Task
from dln_core.trial import Services, Trial
from orchestrator.summary import TrialSummary


@dataclass(frozen=True, slots=True)
class Begun:
    """How a trial scores since its first event; None where it has none yet.

    Attributes:
        rung: Rung of the scoring ladder that its endpoint was on.
        api: ``chat`` or ``completions``.
        judge_rung: Rung of the model that judges, where one does.
        judge_api: Its interface.
    """

    rung: str | None = None
    api: str | None = None
    judge_rung: str | None = None
    judge_api: str | None = None

    @classmethod
    def of(cls, summary: TrialSummary) -> Begun:
        """Read it from what a trial's events add up to."""
        return cls(summary.endpoint_rung, summary.api, summary.judge_rung, summary.judge_api)

    def settings(self, settings: TrialSettings) -> TrialSettings:
        """Hold settings to it, for scores of two rungs do not compare."""
        if self.rung is None or self.api is None:
            return settings
        judge = settings.judge_llm
        if judge is not None and self.judge_api is not None:
            judge = replace(judge, api=self.judge_api)
        return replace(
            settings,
            llm=replace(settings.llm, api=self.api),
            judge_llm=judge,
            scoring=replace(settings.scoring, rung=self.rung),
        )

    def told(self, settings: TrialSettings) -> str:
        """Say which model began on which rung."""
        told = f"with {settings.llm.model} on the scoring rung {self.rung}"
        if settings.judge_llm is None or self.judge_rung is None:
            return told
        return f"{told}, judged by {settings.judge_llm.model} on the rung {self.judge_rung}"


@asynccontextmanager
async def open_trial(
    settings: TrialSettings, services: Services, begun: Begun, task: Task | None = None
) -> AsyncIterator[Trial]:
    """Open a trial that may have begun before; ``task`` stands for the one that settings name.

    Raises:
        ScoringError: If it has begun, and its texts or answers can no longer be scored as they
            were.
        DLNError: If it cannot be opened for another reason.
    """
    async with AsyncExitStack() as stack:
        opening = Trial.open(
            begun.settings(settings), services, task=task, judge_rung=begun.judge_rung or "auto"
        )
        try:
            trial = await stack.enter_async_context(opening)
        except ScoringError as error:
            if begun.rung is None:
                raise
            raise ScoringError(
                f"the trial began {begun.told(settings)}, but this is gone ({error}), and scores "
                "of two rungs do not compare; bring the endpoint back to what it offered, or begin "
                "anew in another out_dir"
            ) from error
        yield trial
