"""What earlier runs of a folder used beside the trials that are planned now."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dln_core.llm.allowance import Amount
from orchestrator.accounts import NOTHING, amount_of
from orchestrator.journal import Journal
from orchestrator.trial_journal import DamagedJournalError


def used_beside(journal: Journal, planned: Collection[str]) -> Amount:
    """Add up what all reference points used, and the trials that are not planned.

    Args:
        journal: Of the folder.
        planned: Ids of the planned trials.

    Raises:
        JournalError: If the folder cannot be read.
    """
    points = (_of_points(journal, key) for key in journal.baseline_ids())
    return sum(points, used_by_trials(journal, journal.trials_beside(planned)))


def used_by_trials(journal: Journal, trial_ids: Collection[str]) -> Amount:
    """Add up what recorded trials used.

    Raises:
        JournalError: If the folder cannot be read.
    """
    return sum(_of_trials(journal, trial_ids), NOTHING)


def _of_points(journal: Journal, baseline_id: str) -> Amount:
    # Of recorded rows each tells what all used.
    left = journal.read_open_baselines(baseline_id)
    told = [left] if left is not None else (journal.read_baselines(baseline_id) or [])[:1]
    return sum((amount_of(each) for each in told), NOTHING)


def _of_trials(journal: Journal, trial_ids: Collection[str]) -> Iterator[Amount]:
    for trial_id in sorted(trial_ids):
        try:
            summary = journal.read(trial_id).summary
        except DamagedJournalError:
            continue  # whoever runs it again begins it anew
        yield Amount(summary.tokens, summary.cost_usd or 0.0)
