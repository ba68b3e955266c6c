"""The user's own data: files as spreadsheets and libraries write them, and every bad row told."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from dln_core.config import DataConfig, TaskConfig, TrialSettings
from dln_core.errors import ConfigError, DataError
from dln_core.identity import trial_id
from dln_core.tasks import Task, load_task
from dln_core.tasks.splits import normalized

LABELS = ("Calm", "Urgent")
ODD_TEXT = 'The "old" pump, no. 3;\nit leaks — badly'
ROWS = [(ODD_TEXT, "Urgent"), *((f"Message {i}", LABELS[i % 2]) for i in range(39))]
COLUMNS = ("text", "answer")


def load(path: Path, format: str = "csv", **changes: Any) -> Task:
    values = {"name": format, "format": format, "path": str(path), "input": "text"}
    return load_task(TaskConfig(**(values | {"label": "answer"} | changes)), DataConfig())


def pairs(task: Task) -> set[tuple[str, str]]:
    splits = task.splits
    return {(e.input, e.target) for e in (*splits.train, *splits.dev, *splits.test)}


def sizes(task: Task) -> tuple[int, int, int]:
    return len(task.splits.train), len(task.splits.dev), len(task.splits.test)


def csv_text(rows: list[tuple[str, ...]], delimiter: str = ",", columns: Any = COLUMNS) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([columns, *rows])
    return file.getvalue()


def jsonl_text(rows: list[tuple[str, ...]]) -> str:
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_is_read_as_spreadsheets_write_it(path, delimiter, encoding):
    path.write_bytes(csv_text(ROWS, delimiter).encode(encoding))
    task = load(path)
    assert pairs(task) == set(ROWS)
    assert task.labels == LABELS
    assert task.is_classification
    assert "Calm or Urgent" in task.instruction


def test_splits_are_made_of_half_a_quarter_and_a_quarter(path):
    path.write_text(csv_text(ROWS), "utf-8")
    assert sizes(load(path)) == (20, 10, 10)


def test_made_splits_follow_the_content_not_the_order_or_the_name(path, tmp_path):
    path.write_text(csv_text(ROWS), "utf-8")
    moved = list(ROWS)
    random.Random(5).shuffle(moved)
    other = tmp_path / "other.csv"
    other.write_text(csv_text(moved, ";"), "utf-8")
    assert load(other, name="moved").splits == load(path).splits


def test_equal_inputs_stay_in_one_split_and_are_all_kept(path):
    path.write_text(csv_text([*ROWS, *ROWS, ("  Message  3", "Urgent")]), "utf-8")
    task = load(path)
    assert sum(sizes(task)) == 81
    parts = (task.splits.train, task.splits.dev, task.splits.test)
    homes = [{normalized(e.input) for e in part} for part in parts]
    assert not homes[0] & homes[1] | homes[0] & homes[2] | homes[1] & homes[2]
    assert len({e.id for part in parts for e in part}) == 81


def test_a_column_may_give_the_splits(path):
    names = ["train", "Training", "validation", "test"]
    rows = [(*row, names[i % 4]) for i, row in enumerate(ROWS)]
    path.write_text(csv_text(rows, columns=(*COLUMNS, "part")), "utf-8")
    task = load(path, split="part")
    assert sizes(task) == (20, 10, 10)
    assert {e.input for e in task.splits.dev} == {row[0] for row in ROWS[2::4]}


@pytest.mark.parametrize(("format", "write"), [("csv", csv_text), ("jsonl", jsonl_text)])
def test_a_folder_may_give_the_splits_by_its_files(tmp_path, format, write):
    for name, rows in {"train": ROWS[:20], "dev": ROWS[20:30], "test": ROWS[30:]}.items():
        (tmp_path / f"{name}.{format}").write_text(write(rows), "utf-8")
    task = load(tmp_path, format)
    assert sizes(task) == (20, 10, 10)
    assert {(e.input, e.target) for e in task.splits.test} == set(ROWS[30:])


def test_without_a_dev_file_dev_is_taken_from_train(tmp_path):
    for name, rows in {"train": ROWS[:30], "test": ROWS[30:]}.items():
        (tmp_path / f"{name}.csv").write_text(csv_text(rows), "utf-8")
    assert sizes(load(tmp_path)) == (20, 10, 10)


def write_folder(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(csv_text([(f"Message {i}-{j}", LABELS[j % 2]) for j in (0, 1)]))


@pytest.mark.parametrize(
    "names",
    [
        ("TRAIN.CSV", "Eval.csv", "test.Csv"),
        ("train_messages.csv", "valid_messages.tsv", "test_messages.csv"),
        ("train/a.csv", "dev/a.csv", "test/a.csv"),
        ("train.csv", "dev.csv", "test.csv", ".ipynb_checkpoints/train-checkpoint.csv"),
        ("train.csv", "dev.csv", "test.csv", "readme.md", "extra.json"),
    ],
)
def test_files_are_known_by_their_names_in_any_case(tmp_path, names):
    write_folder(tmp_path, *names)
    assert sizes(load(tmp_path, labels=list(LABELS))) == (2, 2, 2)


@pytest.mark.parametrize(
    "train",
    [
        ("train-00000-of-00002.csv", "train-00001-of-00002.csv"),
        ("train_1.csv", "train_2.csv"),
        ("train/one.csv", "train/two.csv"),
    ],
)
def test_the_shards_of_a_split_are_read_together(tmp_path, train):
    write_folder(tmp_path, *train, "dev.csv", "test.csv")
    assert sizes(load(tmp_path, labels=list(LABELS))) == (4, 2, 2)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("more.csv", r"more.csv, which belong to no split; begin their names with train, dev or t"),
        ("sub/train2.CSV", r"train2.CSV, which belong to no split"),
        ("train_old.csv", r"train.csv, train_old.csv for train, which are no shards .*; keep one"),
        ("train_2.csv", r"train.csv, train_2.csv for train, which are no shards"),
        ("validation.csv", r"dev.csv, validation.csv for dev, which are no shards"),
        ("train.tsv", r"train.csv, train.tsv for train, which are no shards"),
    ],
)
def test_files_that_would_be_left_out_or_mixed_in_are_told(tmp_path, extra, told):
    write_folder(tmp_path, "train.csv", "dev.csv", "test.csv", extra)
    with pytest.raises(DataError, match=told):
        load(tmp_path, labels=list(LABELS))


def test_json_lines_may_hold_numbers_and_extra_fields(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [{"text": f"{i} + 1", "answer": i + 1, "more": [i]} for i in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    task = load(path, "jsonl", judge="number")
    assert ("7 + 1", "8") in pairs(task)
    assert not task.is_classification
    assert task.judge("The answer is 8.0.", "8")


def test_answers_that_are_all_different_are_free_texts(path):
    path.write_text(csv_text([(f"Question {i}", f"word {i}") for i in range(40)]), "utf-8")
    assert load(path).labels == ()
    assert load(path).judge("Word 3.", "word 3")


def test_listed_labels_keep_their_order_and_none_means_free_text(path):
    path.write_text(csv_text(ROWS), "utf-8")
    assert load(path, labels=["Urgent", "Calm"]).labels == ("Urgent", "Calm")
    assert load(path, labels=[]).labels == ()


def test_the_users_instruction_is_taken(path):
    path.write_text(csv_text(ROWS), "utf-8")
    assert load(path, instruction="Say how urgent it is.").instruction == "Say how urgent it is."


BAD_ROWS = [
    ("Message 1,\n", "line 4: answer is empty"),
    (" ,Calm\n", "line 4: text is empty"),
    ("Message 1\n", "line 4: 1 fields, but the first line has 2"),
    ("Message 1,Calm,more\n", "line 4: 3 fields"),
    ("Message 1,Urgnt\n", "line 4: label 'Urgnt' is not among Calm, Urgent"),
]


@pytest.mark.parametrize(("row", "told"), BAD_ROWS)
def test_a_bad_row_is_told_with_the_line_it_begins_in(path, row, told):
    # The first row spans the lines 2 and 3.
    path.write_text(f'text,answer\n"one\ntwo",Calm\n{row}Message 2,Urgent\n', "utf-8")
    with pytest.raises(DataError) as caught:
        load(path, labels=list(LABELS))
    assert f"mine.csv has 1 bad row, and none is skipped: mine.csv, {told}" in str(caught.value)


def test_all_bad_rows_are_counted_and_the_first_are_told(path):
    path.write_text("text,answer\n" + "x,\n" * 9, "utf-8")
    with pytest.raises(DataError, match=r"9 bad rows.*line 2.*line 6: .*and 4 more"):
        load(path)


def test_a_label_that_occurs_once_is_told_as_a_likely_slip(path):
    path.write_text(csv_text([*ROWS, ("Message 99", "Urgnt")]), "utf-8")
    with pytest.raises(DataError, match=r"line 43: label 'Urgnt' occurs here alone"):
        load(path)
    assert load(path, labels=[*LABELS, "Urgnt"]).labels == (*LABELS, "Urgnt")


def test_labels_that_differ_in_case_alone_are_told(path):
    path.write_text(csv_text([*ROWS, ("Message 98", "urgent"), ("Message 99", "urgent")]), "utf-8")
    with pytest.raises(DataError, match=r"labels 'Urgent' and 'urgent' differ in case alone"):
        load(path)


def test_an_input_in_two_given_splits_is_told(path):
    rows = [("a", "Calm", "train"), ("b", "Calm", "dev"), ("a", "Calm", "test")]
    path.write_text(csv_text(rows, columns=(*COLUMNS, "part")), "utf-8")
    told = "line 4: in test has the input of mine.csv, line 2, in train"
    with pytest.raises(DataError, match=told):
        load(path, split="part")


def test_an_unknown_split_is_told(path):
    path.write_text(csv_text([("a", "Calm", "trial")], columns=(*COLUMNS, "part")), "utf-8")
    with pytest.raises(DataError, match=r"line 2: part is 'trial', which is none of train, dev"):
        load(path, split="part")


def test_splits_without_a_test_are_refused(path):
    path.write_text(csv_text([("a", "x", "train")] * 9, columns=(*COLUMNS, "part")), "utf-8")
    with pytest.raises(DataError, match=r"9 rows, none of them for dev, test"):
        load(path, split="part")


def test_another_encoding_is_told_with_its_line(path):
    path.write_bytes("text,answer\nMessage,Calm\nMünze,Calm\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3: the byte 0xFC is no UTF-8; save"):
        load(path)
    path.write_bytes("text,answer\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"line 1: .* is no UTF-8"):
        load(path)


def test_a_stray_quote_does_not_swallow_the_rows_that_follow(path):
    path.write_text('text,answer\n"open,Calm\nMessage 2,Urgent\n', "utf-8")
    with pytest.raises(DataError, match=r"line 2: the row cannot be read"):
        load(path)


def test_a_missing_column_is_told_with_those_that_are_there(path):
    path.write_text("message;class\nm;Calm\n", "utf-8")
    with pytest.raises(DataError, match="no column text, answer; its first line names: message, c"):
        load(path)


def test_bad_json_lines_are_told(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a", "answer": "b"}\n{"text"\n[1]\n{"text": "c"}\n', "utf-8")
    with pytest.raises(DataError) as caught:
        load(path, "jsonl")
    told = str(caught.value)
    assert "3 bad rows" in told
    for place in ("line 2: no JSON", "line 3: a list where", "line 4: answer is missing"):
        assert place in told


def test_an_absent_file_and_a_folder_without_splits_are_told(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        load(tmp_path / "absent.csv")
    with pytest.raises(
        DataError, match=r"no file that is named after a split; name them train.csv"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "csv"}, r"task=csv lacks task.path, task.input, task.label; give"),
        ({"format": "cvs"}, r"task.format=cvs is unknown; choose one of: csv, jsonl, huggingface"),
        ({"path": "a.csv"}, r"task=triage brings its own data, so task.path says nothing"),
        ({"labels": []}, r"task=triage brings its own data, so task.labels says nothing"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        TaskConfig(**changes)


OWN = {"format": "csv", "path": "mine.csv", "input": "text", "label": "answer"}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            [True, False],
            r"task.labels holds True, which is no text; .* quote them: \['Yes', 'No'\]",
        ),
        (["Yes", False], r"task.labels holds False, which is no text"),
        (["Yes", None], r"task.labels holds None, which is no text"),
        (["Yes", "No", "Yes"], r"task.labels holds Yes twice; list each label once"),
        ([1, "1"], r"task.labels holds 1 twice"),
        ("Yes", r"task.labels='Yes' is no list; write \['Yes', …\]"),
    ],
)
def test_labels_that_are_no_distinct_texts_are_refused(labels, told):
    with pytest.raises(ConfigError, match=told):
        TaskConfig(**OWN, labels=labels)


def test_numbers_may_be_labels():
    assert TaskConfig(**OWN, labels=[-1, 0, 1.5]).labels == ["-1", "0", "1.5"]
    assert TaskConfig(**OWN, labels=("a", "b")).labels == ["a", "b"]


def test_labels_that_yaml_took_for_truth_values_are_told_as_that(path):
    path.write_text(csv_text([(f"Is {i} even?", ("Yes", "No")[i % 2]) for i in range(20)]))
    with pytest.raises(ConfigError, match=r"without quotes, YAML reads Yes as True; quote them"):
        # As the composition hands them over, which turns all labels into texts.
        load(path, labels=["True", "False"])
    path.write_text(csv_text([(f"Is {i} even?", ("True", "False")[i % 2]) for i in range(20)]))
    assert load(path, labels=["True", "False"]).labels == ("True", "False")


def test_a_trial_is_named_by_the_data_not_by_the_place_of_its_file(path, tmp_path):
    path.write_text(csv_text(ROWS), "utf-8")
    other = tmp_path / "elsewhere" / "copy.csv"
    other.parent.mkdir()
    other.write_text(csv_text(ROWS, ";"), "utf-8-sig")

    def name(path: Path, **changes: Any) -> str:
        fields = {"input": "text", "label": "answer"} | changes
        config = TaskConfig(name="csv", format="csv", path=str(path), **fields)
        return trial_id(TrialSettings(task=config), load_task(config, DataConfig()).digest)

    assert name(path) == name(other)
    assert name(path) != name(path, labels=[])
    assert name(path) != name(path, judge="exact")
    assert name(path) != name(path, instruction="Say it.")
