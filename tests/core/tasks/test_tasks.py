"""What every task promises: sizes, disjoint splits, labels, wording; on the real data."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import platformdirs
import pytest

from dln_core.config import DataConfig, TaskConfig
from dln_core.errors import ConfigError, DataError
from dln_core.tasks import Task, load_task, task_names
from dln_core.tasks.generated import outline
from dln_core.tasks.registry import files_of, find_card
from dln_core.tasks.sources import data_folder
from dln_core.tasks.splits import group_key, normalized
from dln_core.types import Example

GENERATED = tuple(name for name in task_names() if not files_of(name))
PAPER_SIZES = {
    "hyperbaton": (400, 1000, 250),
    "navigate": (375, 375, 250),
    "date_understanding": (59, 60, 250),
    # Only five paragraphs of the published train and dev items are not in the test set.
    "logical_deduction_seven_objects": (21, 14, 250),
    "mpqa": (400, 253, 250),
    "trec": (400, 250, 250),
    "subj": (400, 256, 250),
    "disaster": (400, 250, 250),
    "airline": (400, 250, 250),
    "gsm8k": (3736, 3737, 1319),
}
SMALLER_BBH_TESTS = {"causal_judgement": 62, "penguins_in_a_table": 21, "snarks": 53}
GENERATED_SIZES = dict.fromkeys(GENERATED, (200, 100, 250)) | {
    "triage": (200, 100, 240),
    "routing": (195, 105, 240),
    "stock_count": (200, 100, 240),
}
BBH_TASKS = 27


def load(name: str, data: DataConfig | None = None) -> Task:
    return load_task(TaskConfig(name=name), data or DataConfig())


@pytest.fixture(scope="module", params=task_names())
def task(request: pytest.FixtureRequest) -> Task:
    if request.param not in GENERATED:
        request.getfixturevalue("data_dir")
    return load(request.param)


def split_sizes(task: Task) -> tuple[int, int, int]:
    return len(task.splits.train), len(task.splits.dev), len(task.splits.test)


def test_the_splits_have_their_sizes(task):
    by_hash = (50, 75, SMALLER_BBH_TESTS.get(task.name, 125))
    expected = (PAPER_SIZES | GENERATED_SIZES).get(task.name, by_hash)
    assert split_sizes(task) == expected


def test_the_outline_of_a_generated_task_tells_what_its_items_are(task):
    if task.name in GENERATED:
        assert outline(find_card(task.name)) == (split_sizes(task), task.labels)


def test_no_input_and_no_source_stands_in_two_splits(task):
    splits = (task.splits.train, task.splits.dev, task.splits.test)
    for one, other in combinations(splits, 2):
        for key in (group_key, lambda example: normalized(example.input)):
            assert not {key(e) for e in one} & {key(e) for e in other}


def test_ids_are_unique(task):
    everything = (*task.splits.train, *task.splits.dev, *task.splits.test)
    assert len({example.id for example in everything}) == len(everything)


def test_targets_are_among_the_labels_that_the_input_offers(task):
    for example in (*task.splits.train, *task.splits.dev, *task.splits.test):
        assert example.input.strip()
        assert example.target
        if task.is_classification:
            assert example.target in example.labels
            assert set(example.labels) <= set(task.labels)
        else:
            assert not example.labels
        if task.answer_kind == "option":
            assert all(f"\n{label}" in example.input for label in example.labels)
            assert example.input.count("\n(") == len(example.labels)


def test_the_judge_accepts_each_target_and_refuses_the_next_different_one(task):
    test = task.splits.test[:60]
    for example, other in pairwise(test):
        assert task.judge(example.target, example.target)
        assert task.judge(f"The answer is {example.target}", example.target)
        if other.target != example.target:
            assert not task.judge(other.target, example.target)


def test_the_instruction_names_the_answers(task):
    assert task.answer_kind != "label" or all(label in task.instruction for label in task.labels)
    assert task.answer_kind != "option" or "(A)" in task.instruction
    assert 40 < len(task.instruction) < 400
    assert "  " not in task.instruction


def test_all_tasks_load_one_after_the_other_in_less_than_200_megabytes(data_dir):
    code = (
        "from dln_core.config import *; from dln_core.tasks import load_task, task_names\n"
        "for name in task_names(): load_task(TaskConfig(name=name), DataConfig())\n"
        "load_task(TaskConfig(name='hyperbaton', split='paper_code'), DataConfig())\n"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Not getrusage: its maximum counts the memory of the test process that forked this one.
    peak_kib = int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1])
    assert peak_kib < 200 * 1024


def test_all_of_bbh_is_there_and_no_item_is_skipped(data_dir):
    of_bbh = [n for n in task_names() if any("big-bench-hard" in path for path in files_of(n))]
    assert len(of_bbh) == BBH_TASKS
    total = 0
    for name in of_bbh:
        splits = load(name).splits
        everything = (*splits.train, *splits.dev, *splits.test)
        total += sum(example.id.startswith("bbh-") for example in everything)
    assert total == 6511


def test_option_lists_that_upstream_cut_are_whole_again(data_dir):
    splits = load("movie_recommendation").splits
    repaired = [e for e in (*splits.train, *splits.dev, *splits.test) if "Monsters, Inc" in e.input]
    assert any(e.target == "(A)" and "(A) Monsters, Inc\n" in e.input for e in repaired)


def test_dates_of_train_and_dev_share_no_story(data_dir):
    splits = load("date_understanding").splits
    train, dev, test = (
        {normalized(example.source.partition("What is the date")[0]) for example in part}
        for part in (splits.train, splits.dev, splits.test)
    )
    assert not train & dev
    # Dropping what shares a story with the test set would leave nothing to train on.
    assert train | dev <= test


@pytest.mark.parametrize(
    ("cue", "label"),
    [
        ("stand for ?", "Abbreviation"),
        ("Who ", "Human"),
        ("Where ", "Location"),
        ("How many ", "Number"),
        ("Why ", "Description"),
        ("What animal ", "Entity"),
    ],
)
def test_trec_labels_fit_their_questions(data_dir, cue, label):
    splits = load("trec").splits
    everything = (*splits.train, *splits.dev, *splits.test)
    with_cue = [example.target for example in everything if cue in example.input]
    assert with_cue.count(label) > 0.8 * len(with_cue) > 0


def test_truncation_keeps_the_first_examples_and_changes_the_digest():
    whole = load("triage")
    part = load("triage", DataConfig(max_train=10, max_dev=5, max_test=7))
    assert split_sizes(part) == (10, 5, 7)
    assert part.splits.train == whole.splits.train[:10]
    assert part.digest != whole.digest
    assert whole.digest == load("triage").digest


def test_truncation_keeps_the_judge_and_its_labels():
    assert load("routing", DataConfig(max_train=1, max_dev=1, max_test=1)).labels == (
        "Parks",
        "Roads",
        "Water",
    )


def test_the_users_instruction_replaces_the_tasks_own():
    task = load_task(TaskConfig(name="triage", instruction="Sort it."), DataConfig())
    assert task.instruction == "Sort it."


def test_an_unknown_task_is_answered_with_near_names():
    with pytest.raises(ConfigError, match=r"task=navigte is unknown.*navigate"):
        load("navigte")


def test_missing_data_names_both_ways_to_get_it(tmp_path):
    with pytest.raises(DataError) as caught:
        load("navigate", DataConfig(dir=str(tmp_path)))
    for hint in ("data.dir=FOLDER", "DLN_DATA_DIR", "python -m dln_core.tasks fetch navigate"):
        assert hint in str(caught.value)


def test_the_data_folder_is_the_named_one_else_the_environments_else_the_cache(monkeypatch):
    monkeypatch.setenv("DLN_DATA_DIR", "/from/environment")
    assert data_folder("/named") == Path("/named")
    assert data_folder(None) == Path("/from/environment")
    monkeypatch.delenv("DLN_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_folder(None) == Path(platformdirs.user_cache_dir("dln")) / "data"


def test_a_changed_file_is_refused(tmp_path):
    (path,) = files_of("snarks")
    place = tmp_path / path
    place.parent.mkdir(parents=True)
    place.write_text('{"examples": []}')
    with pytest.raises(DataError, match=r"not the pinned file.*found 16 bytes"):
        load("snarks", DataConfig(dir=str(tmp_path)))


def everything(task: Task) -> list[tuple[str, Example]]:
    return [(name, e) for name in ("train", "dev", "test") for e in getattr(task.splits, name)]


def printed_options(example: Example) -> list[str]:
    lines = example.input.partition("\nOptions:\n")[2].splitlines()
    return [line.partition(") ")[2].strip().lower() for line in lines]


def test_stories_with_opposite_answers_do_not_stand_on_both_sides(data_dir):
    items = everything(load("causal_judgement"))
    answers: dict[str, set[str]] = {}
    homes: dict[str, set[str]] = {}
    for split, example in items:
        answers.setdefault(normalized(example.input), set()).add(example.target)
        homes.setdefault(normalized(example.input), set()).add(split)
    twice = [text for text, given in answers.items() if len(given) == 2]
    assert sorted(homes[text].pop() for text in twice) == ["dev", "test"]


def test_the_odd_items_of_bbh_are_those_that_the_notes_tell(data_dir):
    odd = []
    for name in ("movie_recommendation", "ruin_names", "snarks"):
        for split, example in everything(load(name)):
            options = printed_options(example)
            gold = options[example.labels.index(example.target)]
            asked = re.search(r"name: '(.*)'\?", example.input)
            if len(options) < 2 or options.count(gold) > 1 or (asked and asked[1].lower() == gold):
                odd.append((name, split))
    assert odd == [("ruin_names", "train"), ("snarks", "dev"), ("snarks", "test")]
