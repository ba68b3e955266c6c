"""What the report says of a sweep, from journals made by hand."""

from __future__ import annotations

import csv
import json
import re
from xml.etree import ElementTree

import pytest

from orchestrator.comparison import baseline_of, gather
from orchestrator.journal import Journal
from orchestrator.report.differences import INITIAL, contest_all
from orchestrator.report.figures import curve_panels, pareto
from orchestrator.report.lineage import compare_prompts, trace_lineage
from orchestrator.report.methods import find_methods
from orchestrator.report.mistakes import confusion_of, worst_items
from orchestrator.report.page import write_report
from orchestrator.report.reading import History, TaskItems
from orchestrator.results import report

ITEMS = [f"i{number}" for number in range(12)]


def answers(num_right, group=None):
    """Answers to all items of which the first ones are right."""
    groups = {} if group is None else {"group": group}
    return [
        {"id": name, "input": f"Is {name} on fire?", "target": "Urgent"}
        | groups
        | {"prediction": "Urgent" if place < num_right else "Normal", "correct": place < num_right}
        for place, name in enumerate(ITEMS)
    ]


def figures_of(num_right):
    figures = {"num_items": len(ITEMS), "num_correct": num_right}
    return figures | {"accuracy": num_right / len(ITEMS), "low": 0.0, "high": 1.0}


def initial(num_right):
    row = {"task": "triage", "model": "simulated", "baseline": "initial"}
    return row | figures_of(num_right) | {"predictions": answers(num_right)}


@pytest.fixture
def record(toy_event):
    """Record a trial: its start, one step, and its test with so many right answers."""

    def record(plan, trial, num_right, dev=0.6, **parts):
        best = {"dev_accuracy": dev, "step": 1}
        before = {name: parts[name] for name in parts if name == "network"}
        finish = {
            "kind": "finish",
            "predictions": answers(num_right),
            "test": figures_of(num_right),
        }
        with Journal.locked(plan.out_dir) as journal:
            journal.write_baselines(baseline_of(plan, trial), [initial(1)])
            entry = journal.recover(trial.trial_id)
            entry.begin(trial.settings)
            for event in (
                toy_event(0, **before),
                toy_event(1, best=best, **parts),
                toy_event(1, best=best, **finish),
            ):
                entry.append(event, {})

    return record


def results_of(plan):
    journal = Journal(plan.out_dir)
    summaries = {t.trial_id: journal.read(t.trial_id).summary for t in plan.trials}
    return gather(plan, journal, summaries)


def methods_of(results):
    return find_methods(results.trials, results.summaries)


def page_of(plan):
    write_report(plan, results_of(plan), None)
    return (plan.out_dir / "report.html").read_text()


def sources(**groups):
    return {"triage": {name: {"group": group} for name, group in groups.items()}}


def test_a_cell_is_the_mean_over_seeds_with_students_interval(toy_plan, record):
    plan = toy_plan(1, 2, 3)
    for trial, num_right in zip(plan.trials, (6, 7, 8), strict=True):
        record(plan, trial, num_right)
    cell = methods_of(results_of(plan)).chosen["triage", "dln1"]
    assert cell.mean == pytest.approx(7 / 12)
    # The standard error is 1 / (12 sqrt 3), and the quantile for two degrees of freedom 4.303.
    margin = 4.3027 / 12 / 3**0.5
    assert cell.interval == pytest.approx((7 / 12 - margin, 7 / 12 + margin), abs=1e-5)
    assert cell.note == "3 seeds"


def test_one_seed_is_called_so_and_has_no_interval(toy_plan, record):
    plan = toy_plan(1, 2)
    record(plan, plan.trials[0], 6)
    cell = methods_of(results_of(plan)).chosen["triage", "dln1"]
    assert (cell.interval, cell.note) == (None, "1 of 2 seeds")
    plan = toy_plan(1)
    assert methods_of(results_of(plan)).chosen["triage", "dln1"].note == "one seed"
    assert "one seed" in page_of(plan)


def test_settings_are_chosen_by_dev_whatever_test_says(toy_plan, record):
    plan = toy_plan(1, 2)
    for trial, hidden in zip(plan.trials, (3, 5), strict=True):
        trial.varying["trainer.num_hidden"] = hidden
    record(plan, plan.trials[0], 3, dev=0.9)
    record(plan, plan.trials[1], 12, dev=0.6)
    methods = methods_of(results_of(plan))
    assert methods.has_choice
    assert methods.chosen["triage", "dln1"].setting == "trainer.num_hidden=3"
    assert methods.chosen["triage", "dln1"].mean == 3 / 12


def test_presets_are_methods_of_their_own(toy_plan, record):
    plan = toy_plan(1, 2)
    for trial, preset in zip(plan.trials, ("paper", "fast"), strict=True):
        trial.varying["trainer.preset"] = preset
        record(plan, trial, 6)
    assert methods_of(results_of(plan)).names == ("dln1 · paper", "dln1 · fast")


def test_methods_are_compared_with_the_initial_prompt_on_the_same_items(toy_plan, record):
    plan = toy_plan(1)
    record(plan, plan.trials[0], 12)
    results = results_of(plan)
    (contest,) = contest_all(results, methods_of(results), sources()).found
    assert (contest.before, contest.after, contest.test) == (INITIAL, "dln1", "exact McNemar")
    assert contest.difference.value == pytest.approx(11 / 12)
    assert contest.difference.p_value == pytest.approx(2 / 2**11)
    assert contest.verdict == "dln1 is better"


def test_what_chance_may_do_is_called_no_significant_difference(toy_plan, record):
    plan = toy_plan(1)
    record(plan, plan.trials[0], 3)
    results = results_of(plan)
    (contest,) = contest_all(results, methods_of(results), sources()).found
    assert contest.difference.p_value == pytest.approx(1 / 2)
    assert contest.verdict == "no significant difference"
    assert "no significant difference" in page_of(plan)


def test_items_of_one_source_count_as_one(toy_plan, record):
    plan = toy_plan(1)
    record(plan, plan.trials[0], 12)
    results = results_of(plan)
    methods = methods_of(results)
    halves = {name: "first" if name in ITEMS[:6] else "second" for name in ITEMS}
    (contest,) = contest_all(results, methods, sources(**halves)).found
    # Gains of 5 and 6: two of four patterns of signs reach their sum.
    assert contest.difference.p_value == pytest.approx(2 / 4)
    assert (contest.difference.num_clusters, contest.test) == (2, "exact, source by source")
    found = contest_all(results, methods, sources(**dict.fromkeys(ITEMS, "one")))
    assert (found.found, len(found.skipped)) == ((), 1)


def test_the_sources_of_items_come_from_the_predictions(toy_plan, record):
    items = TaskItems()
    items.add("dln1", answers(3, group="paragraph 7"))
    assert {item.group for item in items.items.values()} == {"paragraph 7"}


def test_a_front_holds_what_nothing_cheaper_exceeds():
    assert pareto([(3, 0.5), (1, 0.4), (2, 0.7), (2, 0.6), (4, 0.7)]) == [(1, 0.4), (2, 0.7)]


def test_confusions_and_the_items_most_often_wrong():
    items = TaskItems()
    for num_right in (3, 5):
        items.add("dln1", answers(num_right))
    items.add("dln1", [answers(0)[0] | {"prediction": "I cannot say."}])
    targets = [one | {"target": "Normal", "prediction": "normal."} for one in answers(12)[:2]]
    items.add("dln1", [one | {"id": f"n{one['id']}"} for one in targets])
    table = confusion_of(items, "dln1")
    assert (table.targets, table.labels) == (("Normal", "Urgent"), ("Normal", "Urgent", "other"))
    assert table.counts == ((2, 0, 0), (16, 8, 1))
    assert [each.num_wrong / each.num_asked for each in worst_items(items, ["dln1"])] == [1.0] * 5
    free = TaskItems()
    free.add("dln1", [one | {"target": one["id"]} for one in answers(3)])
    assert confusion_of(free, "dln1") is None


def prompt(instruction, *shown):
    return {
        "instruction": instruction,
        "demonstrations": [{"input": text, "output": "Yes"} for text in shown],
    }


def stage(step, instruction, best, event, reward=None):
    """The event of a step that leaves a prompt, made by a proposal if it has a reward."""
    texts = {"network": {"layers": [{"name": "output", "width": 1, "prompts": [instruction]}]}}
    candidates = [] if reward is None else [
        {"layer": "output", "prompt": 0, "index": 0, "source": "current", "selected": False,
         "reward": -2.0, "num_examples": 4} | prompt("whatever it was"),
        {"layer": "output", "prompt": 0, "index": 1, "source": "rewrite", "selected": True,
         "reward": reward, "num_examples": 4} | instruction,
    ]  # fmt: skip
    scored = {"best": {"dev_accuracy": 0.5, "step": best}, "candidates": candidates}
    return event(step, **texts, **scored)


def test_a_lineage_tells_what_each_change_gained_and_leaves_dead_ends_out(toy_event):
    first, better, dead_end, best = (prompt(text) for text in ("a b", "a c", "x", "a c d"))
    lineage = trace_lineage(
        [
            stage(0, first, 0, toy_event),
            stage(1, better, 1, toy_event, reward=-1.5),
            stage(2, dead_end, 1, toy_event, reward=-1.0),
            stage(3, better, 1, toy_event),
            stage(4, best, 4, toy_event, reward=-0.5),
            stage(5, dead_end, 4, toy_event, reward=0.0),
        ]
    )
    assert [stage.step for stage in lineage.stages] == [0, 1, 4]
    gains = [change.gain for stage in lineage.stages for change in stage.changes]
    assert gains == [pytest.approx(0.5), pytest.approx(1.5)]
    assert lineage.network["layers"][0]["prompts"] == [best]


def test_instructions_are_compared_by_words_and_examples_as_wholes():
    pieces = compare_prompts(prompt("Say yes now.", "p", "q"), prompt("Say no now.", "p", "r"))
    assert [(piece.kind, piece.text.strip()) for piece in pieces] == [
        ("same", "Say"),
        ("gone", "yes"),
        ("new", "no"),
        ("same", "now."),
        ("kept", "1 worked example kept"),
        ("gone", "q\n→ Yes"),
        ("new", "r\n→ Yes"),
    ]


def test_the_report_is_rebuilt_from_the_journals_alone_and_loads_nothing(toy_plan, record):
    plan = toy_plan(13, 42)
    record(plan, plan.trials[0], 6)
    assert report(plan) == 0
    page = (plan.out_dir / "report.html").read_text()
    assert "Say Urgent or Normal." in page
    assert set(re.findall(r"""(?:src|href)=["']?(.)""", page)) == {"#"}
    assert not re.search(r"@import|url\((?!#)", page)
    for path in (plan.out_dir / "report").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.with_suffix(".png").stat().st_size > 1000


def test_the_table_for_papers_has_a_row_a_task_and_method(toy_plan, record):
    plan = toy_plan(1, 2)
    for trial in plan.trials:
        record(plan, trial, 6)
    page_of(plan)
    with (plan.out_dir / "report" / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert (rows["dln1"]["mean"], rows["dln1"]["num_seeds"]) == ("0.5", "2")
    assert rows["initial"]["kind"] == "reference"
    assert "50.0 [50.0, 50.0] (2 seeds)" in (plan.out_dir / "report" / "table.md").read_text()
    plan.trials[0].settings.task.name = plan.trials[1].settings.task.name = "a_task & more"
    page_of(plan)
    assert r"a\_task \& more & 50.0" in (plan.out_dir / "report" / "table.tex").read_text()


def test_texts_and_names_are_no_markup_in_the_report(toy_plan, record):
    plan = toy_plan(1)
    layers = [{"name": "output", "width": 1, "prompts": [prompt("<script>alert(1)</script>")]}]
    plan.trials[0].settings.network.name = "<b>$x$"
    record(plan, plan.trials[0], 6, network={"layers": layers})
    page = page_of(plan)
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_the_report_shows_every_prompt_of_a_layer_and_the_names_of_tools(toy_plan, record):
    plan = toy_plan(1)
    layers = [
        {"name": "observation", "width": 1, "tools": ["calculator"]},
        {"name": "output", "width": 2, "prompts": [prompt("First one."), prompt("Next.", "2+2")]},
    ]
    record(plan, plan.trials[0], 6, network={"layers": layers})
    page = page_of(plan)
    shown = ("Tools: calculator", "output (2 copies)", "Prompt 1", "First one.", "Next.", "2+2")
    assert [text for text in shown if text not in page] == []


def test_failures_and_repeated_looks_at_test_are_told(toy_plan, record, toy_event):
    plan = toy_plan(1, 2)
    lost = {"metrics": {"train/failed_scorings": 3.0}, "failures": {"train/failed_scorings": "no"}}
    record(plan, plan.trials[0], 6, **lost)
    with Journal.locked(plan.out_dir) as journal:
        entry = journal.recover(plan.trials[1].trial_id)
        entry.begin(plan.trials[1].settings)
        entry.append(toy_event(0), {})
        failed = {"kind": "failed", "step": 0, "error": "the endpoint <went> away", "epoch": 1}
        entry.append(failed | {"time": 1.0}, {})
    results = results_of(plan)
    results.summaries[plan.trials[0].trial_id].test_looks = 2
    write_report(plan, results, None)
    page = (plan.out_dir / "report.html").read_text()
    assert "the endpoint &lt;went&gt; away" in page
    assert "train/failed_scorings</td><td>3</td>" in page
    assert "looked at more than once" in page


def test_items_of_one_source_count_as_one_in_the_table_of_trials_too(toy_plan, record):
    plan = toy_plan(1)
    (trial,) = plan.trials
    record(plan, trial, 12)
    alone = results_of(plan).comparisons[trial.trial_id].p_value
    # Eleven items in which the two differ, then eleven of one source.
    assert alone == 2 / 2**11
    folder = Journal(plan.out_dir).folder(trial.trial_id)
    lines = (folder / "events.jsonl").read_text().splitlines()
    event = json.loads(lines[-1])
    event["predictions"] = [item | {"group": "one text"} for item in event["predictions"]]
    (folder / "events.jsonl").write_text("\n".join([*lines[:-1], json.dumps(event), ""]))
    assert results_of(plan).comparisons[trial.trial_id].p_value == 1.0


def test_initial_prompts_of_two_models_are_told_apart(toy_plan, record):
    plan = toy_plan(1, 2)
    for trial, model in zip(plan.trials, ("small", "large"), strict=True):
        trial.varying["llm.model"] = model
        record(plan, trial, 6)
    results = results_of(plan)
    found = contest_all(results, methods_of(results), sources()).found
    pairs = {(contest.before, contest.after) for contest in found}
    assert (f"{INITIAL} · large", "dln1 · large") in pairs
    assert (f"{INITIAL} · small", "dln1 · small") in pairs
    page = page_of(plan)
    assert "initial · small" in page
    assert "initial · large" in page


def test_a_trained_method_is_never_drawn_as_a_level(toy_plan, toy_event):
    plan = toy_plan(1, 2)
    histories = {trial.trial_id: History() for trial in plan.trials}
    first, second = histories.values()
    for step in (0, 1):
        first.add(toy_event(step))
    # This seed failed after its start.
    second.add(toy_event(0))
    methods = methods_of(results_of(plan))
    panels = list(curve_panels("triage", methods, histories))
    assert panels
    assert all(not panel.levels and panel.lines for panel in panels)


def test_a_network_that_is_validated_late_shows_its_dev_accuracy(toy_event):
    later = toy_event(2)
    for event in (unvalidated := [toy_event(0), toy_event(1, best={"dev_accuracy": 0, "step": 0})]):
        event["metrics"] = {}
    lineage = trace_lineage([*unvalidated, later])
    assert [stage.dev_accuracy for stage in lineage.stages] == [later["metrics"]["dev/accuracy"]]


def test_a_sweep_of_which_nothing_has_begun_has_a_report(toy_plan, record):
    plan = toy_plan(1, 2)
    with Journal.locked(plan.out_dir):
        pass
    page = page_of(plan)
    assert "0 of 2 trials finished" in page
    assert "No two methods were tested" in page


def test_pruned_and_reopened_trials_have_a_report(toy_plan, record, toy_event):
    plan = toy_plan(1, 2)
    record(plan, plan.trials[0], 6)
    record(plan, plan.trials[1], 8)
    with Journal.locked(plan.out_dir) as journal:
        entry = journal.recover(plan.trials[1].trial_id)
        epoch = entry.begin(plan.trials[1].settings)
        used = {"usage": {}, "cost_usd": 0.0, "seconds": 1.0, "failures": {"test/failed": "no"}}
        for kind, about in (
            ("reopen", {}),
            ("abandoned", used),
            ("stop", {"reason": "pruned", "bound": None, "value": None}),
        ):
            event = {"kind": kind, "step": 1, "time": 1.7e9, "epoch": epoch, "metrics": {}}
            entry.append(event | about, {})
    assert methods_of(results_of(plan)).chosen["triage", "dln1"].note == "1 of 2 seeds"
    assert "1 of 2 trials finished" in page_of(plan)
