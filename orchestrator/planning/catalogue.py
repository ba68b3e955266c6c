"""What a plan knows of its tasks and trials, each worked out once."""

from __future__ import annotations

from dataclasses import replace

from dln_core.config import TrialSettings
from dln_core.tasks import Task, load_task
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.call_costs import TaskSize, measure
from orchestrator.planning.estimate import estimate_trial
from orchestrator.planning.parts import Parts, parts_of


class Catalogue:
    """The tasks of a plan, each loaded and measured once, and the estimates of its trials."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._sizes: dict[str, TaskSize] = {}
        self._expected: dict[str, tuple[Estimate, Parts]] = {}

    def task(self, settings: TrialSettings) -> Task:
        """Return the task of a trial.

        Raises:
            DataError: If its data is missing or damaged.
        """
        key = repr((settings.task, settings.data))
        if key not in self._tasks:
            self._tasks[key] = load_task(settings.task, settings.data)
        return self._tasks[key]

    def size(self, settings: TrialSettings) -> TaskSize:
        """Return the measures of a trial's task, in the tokens of its model."""
        in_words = settings.llm.provider == "simulated"
        key = repr((settings.task, settings.data, in_words))
        if key not in self._sizes:
            self._sizes[key] = measure(self.task(settings), in_words=in_words)
        return self._sizes[key]

    def expected(self, settings: TrialSettings) -> tuple[Estimate, Parts]:
        """Return what a trial is expected to take, in all and by its parts.

        Raises:
            ConfigError: If the initial network cannot be made.
            ScoringError: If ``scoring.rung`` cannot do what the network asks for.
        """
        key = but_for_seed(settings)
        if key not in self._expected:
            task, size = self.task(settings), self.size(settings)
            estimate = estimate_trial(settings, task, size)
            self._expected[key] = estimate, parts_of(settings, task, size, estimate)
        return self._expected[key]


def but_for_seed(settings: TrialSettings) -> str:
    """What settings have in common whose costs are the same: all but the seed.

    The seed counts where it draws the examples that a network shows, whose lengths differ.
    """
    return repr(settings if settings.network.num_shots else replace(settings, seed=0))
