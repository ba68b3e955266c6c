"""Data sets of the Hugging Face libraries that lie on this disk, read with pyarrow alone.

Parquet files and the folders that ``save_to_disk`` writes are read; class numbers become the names
that the file stores for them.  Nothing is downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from dln_core.errors import DataError
from dln_core.tasks.rows import Problems, Row, read_jsonl


def read_table(path: Path, wanted: Collection[str], problems: Problems) -> list[Row]:
    """Read one file of a data set.

    Args:
        path: A file in Parquet or Arrow format, or with JSON lines.
        wanted: Columns that it must have.
        problems: Rows that cannot be read are noted here.

    Raises:
        DataError: If the file cannot be read, a column is missing, or pyarrow is.
    """
    if path.suffix.lower() not in (".parquet", ".arrow"):
        return read_jsonl(path, problems)
    table = _arrow_table(path)
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}; it has: "
            f"{', '.join(table.column_names) or 'none'}"
        )
    names = _class_names(table.schema.metadata or {})
    rows = table.select(list(wanted)).to_pylist()
    return [
        Row(f"{path.name}, row {number}", {key: _named(names, key, row[key]) for key in row})
        for number, row in enumerate(rows, start=1)
    ]


def _arrow_table(path: Path) -> Any:
    try:
        arrow = importlib.import_module("pyarrow")
        if path.suffix.lower() == ".parquet":
            return importlib.import_module("pyarrow.parquet").read_table(path)
        with arrow.OSFile(str(path)) as source:
            return importlib.import_module("pyarrow.ipc").open_stream(source).read_all()
    except ImportError:
        raise DataError(
            f"{path.name} needs the library pyarrow, which is not installed; pip install pyarrow, "
            "or save the data as JSON lines and use task=jsonl"
        ) from None
    except (OSError, arrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as a data set ({reason}); check it") from error


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes by column, as the library notes them in a file."""
    features = orjson.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _named(names: dict[str, list[str]], column: str, value: Any) -> Any:
    if column not in names or not isinstance(value, int):
        return value
    # Hidden labels, as of test sets whose answers are secret, are -1: nothing is known there.
    return names[column][value] if 0 <= value < len(names[column]) else None
