"""Early stopping of trials: asynchronous successive halving on dev accuracy, decided by Optuna.

Trials are compared after ``min_steps`` steps, and again after each ``reduction_factor`` times as
many.  Whoever then belongs to the best ``1 / reduction_factor`` of those that have come as far goes
on; the others end and are tested.  No trial waits for another: the first that arrive are compared
with few, and the best so far always goes on.

Trials compete if they have the same task, data, model, way of scoring and network: steps of two
networks cost different amounts, and accuracies of two tasks do not compare.  So other settings
compete, and seeds.  What counts is the dev accuracy of the best network so far, the one that would
be tested.

The record of a comparison is in memory alone.  It follows from the order of the validations, which
the journals hold, so that a resumed sweep goes on with the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.comparison import baseline_of
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import TrialSummary, Validation

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import SuccessiveHalvingPruner


class Halving:
    """Says which trials end early; it is the ``Pruner`` of a ``Site`` and one of its observers.

    Args:
        plan: The trials.
        pruner: Compares those of one study.
        summaries: What the journals hold of them at the start, by ``trial_id``.
    """

    def __init__(
        self,
        plan: Plan,
        pruner: SuccessiveHalvingPruner,
        summaries: Mapping[str, TrialSummary],
    ) -> None:
        self._plan = plan
        self._pruner = pruner
        self._studies: dict[tuple[str, str], Study] = {}
        self._trials: dict[str, Trial] = {}
        self._pruned: set[str] = set()
        past = [
            (validation, trial)
            for trial in plan.trials
            for validation in summaries[trial.trial_id].validations
        ]
        for validation, trial in sorted(past, key=lambda entry: entry[0].time):
            self._compare(trial, validation)

    @classmethod
    def of(cls, plan: Plan, summaries: Mapping[str, TrialSummary]) -> Halving | None:
        """Make it as the plan's scheduler asks; None where all trials are trained to their end."""
        config = plan.run.scheduler
        if config.min_steps is None or config.reduction_factor is None:
            return None
        from optuna.pruners import SuccessiveHalvingPruner

        pruner = SuccessiveHalvingPruner(config.min_steps, config.reduction_factor)
        return cls(plan, pruner, summaries)

    def prunes(self, trial_id: str) -> bool:
        """Tell whether a trial is to end after its last validation."""
        return trial_id in self._pruned

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Take no note: trials are compared by what is journalled alone."""

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Compare a trial that was validated with the others."""
        validation = Validation.of(event)
        if validation is not None:
            self._compare(trial, validation)

    def _compare(self, trial: PlannedTrial, validation: Validation) -> None:
        key = trial.trial_id
        if key not in self._trials:
            self._trials[key] = self._study(trial).ask()
        self._trials[key].report(validation.dev_accuracy, validation.step)
        # At once: a later answer would depend on what others have reported meanwhile.
        if self._trials[key].should_prune():
            self._pruned.add(key)
        else:
            self._pruned.discard(key)

    def _study(self, trial: PlannedTrial) -> Study:
        """The record of the trials that this one is compared with."""
        key = (baseline_of(self._plan, trial), trial.settings.network.name)
        if key not in self._studies:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._studies[key] = optuna.create_study(direction="maximize", pruner=self._pruner)
        return self._studies[key]
