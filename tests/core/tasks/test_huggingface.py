"""Data sets of the Hugging Face libraries: tables in folders, classes by name, gaps told."""

from __future__ import annotations

import datetime
import json
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dln_core.errors import DataError
from tests.core.tasks.test_own_files import LABELS, ROWS, csv_text, load, pairs, sizes


def write_parquet(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(arrow_table(rows), path)


def arrow_table(rows: list[tuple[str, str]]) -> pyarrow.Table:
    """A table as the Hugging Face library stores one: classes as numbers, their names aside."""
    label = {"names": list(LABELS), "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"}, "answer": label}
    table = pyarrow.table(
        {"text": [text for text, _ in rows], "answer": [LABELS.index(a) for _, a in rows]}
    )
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def test_a_data_set_of_parquet_files_is_read_with_its_class_names(tmp_path):
    for name, rows in {"train": ROWS[:20], "validation": ROWS[20:30], "test": ROWS[30:]}.items():
        write_parquet(tmp_path / "data" / f"{name}-00000-of-00001.parquet", rows)
    task = load(tmp_path, "huggingface")
    assert pairs(task) == set(ROWS)
    assert sizes(task) == (20, 10, 10)
    assert task.labels == LABELS


def test_a_data_set_saved_to_disk_is_read(tmp_path):
    for name, rows in {"train": ROWS[:30], "test": ROWS[30:]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "state.json").write_text("{}")
        table = arrow_table(rows)
        path = str(folder / "data-00000-of-00001.arrow")
        with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    (tmp_path / "dataset_dict.json").write_text("{}")
    task = load(tmp_path, "huggingface")
    assert pairs(task) == set(ROWS)
    assert sizes(task) == (20, 10, 10)


def test_one_parquet_file_is_split_as_a_csv_is(tmp_path):
    write_parquet(tmp_path / "mine.parquet", ROWS)
    (tmp_path / "mine.csv").write_text(csv_text(ROWS), "utf-8")
    expected = load(tmp_path / "mine.csv").splits
    assert load(tmp_path / "mine.parquet", "huggingface").splits == expected


def test_a_broken_parquet_file_and_a_missing_column_are_told(tmp_path):
    broken = tmp_path / "mine.parquet"
    broken.write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="cannot be read as a data set"):
        load(broken, "huggingface")
    write_parquet(broken, ROWS)
    with pytest.raises(DataError, match="no column words; it has: text, answer"):
        load(broken, "huggingface", input="words")


def test_numbers_dates_and_gaps_of_a_table_are_read_as_text(tmp_path):
    path = tmp_path / "mine.parquet"
    day = datetime.date(2024, 2, 29)
    table = {"text": [f"q{i}" for i in range(8)], "answer": [Decimal("2.50")] * 8, "day": [day] * 8}
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    assert load(path, "huggingface", labels=[]).splits.test[0].target == "2.50"
    assert load(path, "huggingface", label="day", labels=[]).splits.test[0].target == "2024-02-29"
    table["answer"] = [1.5] * 7 + [float("nan")]
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(DataError, match=r"1 bad row.*row 8: answer is empty"):
        load(path, "huggingface", labels=[])


def test_a_class_without_a_name_is_an_empty_answer_and_no_label(tmp_path):
    path = tmp_path / "mine.parquet"
    table = arrow_table(ROWS)
    hidden = pyarrow.array([-1, 2] * 20)
    pyarrow.parquet.write_table(table.set_column(1, "answer", hidden), path)
    with pytest.raises(DataError, match=r"40 bad rows.*mine.parquet, row 1: answer is empty"):
        load(path, "huggingface")


def test_without_pyarrow_the_remedy_is_told(tmp_path, monkeypatch):
    write_parquet(tmp_path / "mine.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs the library pyarrow.*pip install pyarrow, or save"):
        load(tmp_path / "mine.parquet", "huggingface")
