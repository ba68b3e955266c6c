"""What counts against a budget though no planned trial used it."""

from __future__ import annotations

from orchestrator.journal import Journal
from orchestrator.used_before import used_beside


def usage(tokens):
    counts = dict.fromkeys(("calls", "paid_calls", "completion_tokens"), 0)
    return {"score": {"prompt_tokens": tokens, "paid_prompt_tokens": 0} | counts}


def test_trials_of_other_commands_and_all_reference_points_count(toy_plan, toy_event):
    plan = toy_plan(1, 2)
    first, second = (trial.trial_id for trial in plan.trials)
    row = {"usage": usage(10), "cost_usd": 1.0}
    with Journal.locked(plan.out_dir) as journal:
        for trial in plan.trials:
            record = journal.recover(trial.trial_id)
            record.begin(trial.settings)
            record.append(toy_event(0), {})
        # Each row of complete points tells what all took, and so does what a budget left over.
        journal.write_baselines("a" * 12, [row, row])
        journal.write_baselines("b" * 12, [], row | {"missing": ["cot"]})
        points, trial = used_beside(journal, {first, second}), journal.read(second).summary
        assert (points.tokens, points.cost_usd) == (20, 2.0)
        both = used_beside(journal, {first})
        assert (both.tokens, both.cost_usd) == (20 + trial.tokens, 2.0 + trial.cost_usd)


def test_a_damaged_record_of_another_trial_does_not_end_a_run(toy_plan):
    plan = toy_plan()
    (trial,) = plan.trials
    with Journal.locked(plan.out_dir) as journal:
        journal.recover(trial.trial_id).begin(trial.settings)
        (journal.folder(trial.trial_id) / "state.json").write_text("{")
        assert used_beside(journal, set()).tokens == 0
