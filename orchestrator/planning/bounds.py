"""Which bounds of a budget a plan may reach: said before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence

from dln_core.llm.allowance import Amount
from orchestrator.accounts import NOTHING, Account, Scope
from orchestrator.journal import Journal
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.settings.schema import BoundsConfig
from orchestrator.used_before import used_by_trials


def told_bounds(plan: Plan) -> list[str]:
    """Return a sentence for each bound, of the sweep or of trials, that may end training early.

    Raises:
        JournalError: If the output folder cannot be read.
    """
    budget, trials = plan.run.budget, plan.trials
    if not (budget.bounds() or budget.trial.bounds()):
        return []
    journal = Journal(plan.out_dir)
    others = journal.trials_beside([trial.trial_id for trial in trials])
    used = used_by_trials(journal, others)
    return [
        *_told("budget", budget, trials, [plan.estimate], used),
        *_told("budget.trial", budget.trial, trials, [trial.estimate for trial in trials]),
    ]


def _told(
    scope: str,
    config: BoundsConfig,
    trials: Sequence[PlannedTrial],
    estimates: Sequence[Estimate],
    used: Amount = NOTHING,
) -> list[str]:
    lines = []
    for name, bound in config.bounds().items():
        figure = name.removeprefix("max_")
        left = bound - getattr(used, figure, 0.0)
        lows, highs = (
            [end.to_dict()[figure] or 0.0 for end in ends]
            for ends in zip(*((each.low, each.high) for each in estimates), strict=True)
        )
        if left < min(_least(trial, figure) for trial in trials):
            verdict = "does not suffice for the validation and the test of any trial"
        # Time counts since a run began, which may find trials that are finished.
        elif left < max(lows) and figure != "seconds":
            verdict = "will end training early, or leave trials that are not begun"
        elif left < max(highs):
            verdict = "may end training early"
        else:
            continue
        lines.append(f"{scope}.{name}={bound:g} {verdict}.")
    return lines


def _least(trial: PlannedTrial, figure: str) -> float:
    """What must be free for a trial to be begun; time always is."""
    account = Account(Scope("", BoundsConfig()), trial.parts, trial.settings.network.is_trained)
    least: float = getattr(account.needed, figure, 0.0)
    return least
