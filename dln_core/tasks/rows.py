"""The rows of the user's own files, each with its place, and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dln_core.errors import DataError

DELIMITERS = (",", ";", "\t")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "val": "dev",
    "validation": "dev",
    "eval": "dev",
    "test": "test",
}
_ENDINGS = {
    "csv": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".json"),
    "huggingface": (".parquet", ".arrow", ".jsonl", ".json"),
}
# What the Hugging Face libraries write beside their tables.
_DESCRIPTIONS = ("state.json", "dataset_info.json", "dataset_dict.json")
# What counts the shards of a split: train-00000-of-00003, train_1.
_SHARD = re.compile(r"\d+(?:-of-\d+)?(?=\.\w+$)")
_SHOWN = 5
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it stands, such as ``mine.csv, line 7``, and its fields."""

    place: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a field as text without space around it; empty if it has no value."""
        value = self.fields.get(name)
        # Tables write a missing number as NaN, which equals nothing.
        if value is None or value != value:
            return ""
        if isinstance(value, str):
            return value.strip()
        return orjson.dumps(value, default=str).decode().strip('"')


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with rows, so that all of it is told at once."""

    found: list[str] = field(default_factory=list)

    def add(self, place: str, what: str) -> None:
        """Note what is wrong with the row at a place."""
        self.found.append(f"{place}: {what}")

    def check(self, path: Path) -> None:
        """Raise ``DataError`` with the first of the problems if there are any."""
        if not self.found:
            return
        shown = "; ".join(self.found[:_SHOWN])
        more = f"; and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
        bad = "1 bad row" if len(self.found) == 1 else f"{len(self.found)} bad rows"
        raise DataError(f"{path.name} has {bad}, and none is skipped: {shown}{more}; correct them")


def read_csv(path: Path, wanted: Collection[str], problems: Problems) -> list[Row]:
    """Read a file as spreadsheets write it: comma, semicolon or tab; with or without a BOM.

    Args:
        path: The file, in UTF-8.
        wanted: Columns that the first line must name.
        problems: Rows that do not fit the first line are noted here.

    Raises:
        DataError: If the file cannot be read or lacks a column.
    """
    text = read_text(path)
    delimiter = _delimiter(text, wanted)
    # Strict, since a stray quote would else swallow the rows up to the next one.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    start, header = 1, None
    try:
        for cells in reader:
            place, start = f"{path.name}, line {start}", reader.line_num + 1
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(path, header, wanted)
            elif len(cells) == len(header):
                rows.append(Row(place, dict(zip(header, cells, strict=True))))
            # Files end with empty lines, which are no rows.
            elif cells:
                problems.add(place, f"{len(cells)} fields, but the first line has {len(header)}")
    except csv.Error as error:
        raise DataError(
            f"{path.name}, line {start}: the row cannot be read ({error}); write quotes inside a "
            'quoted field twice (""), and close every field that is opened'
        ) from error
    return rows


def read_jsonl(path: Path, problems: Problems) -> list[Row]:
    """Read a file with a JSON object on each line; lines that hold none are noted.

    Raises:
        DataError: If the file cannot be read.
    """
    rows: list[Row] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        place = f"{path.name}, line {number}"
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.add(place, f"no JSON ({error.msg})")
            continue
        if isinstance(value, dict):
            rows.append(Row(place, value))
        else:
            problems.add(place, f"a {type(value).__name__} where an object {{…}} is needed")
    return rows


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises:
        DataError: If the file cannot be read, or holds another encoding; the line is named.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check task.path") from error
    try:
        if content.startswith(_OTHER_ENCODINGS):
            raise UnicodeDecodeError("utf-8", content, 0, 1, "UTF-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name}, line {line}: the byte 0x{content[error.start]:02X} is no UTF-8; save "
            "the file as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error


def _delimiter(text: str, wanted: Collection[str]) -> str:
    """The delimiter by which the first line names most of the wanted columns."""

    def matches(delimiter: str) -> tuple[int, int]:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return len({cell.strip() for cell in header} & set(wanted)), len(header)

    return max(DELIMITERS, key=matches)


def _check_header(path: Path, header: list[str], wanted: Collection[str]) -> None:
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}; its first line names: "
            f"{', '.join(header) or 'nothing'}"
        )
    twice = sorted({name for name in wanted if header.count(name) > 1})
    if twice:
        raise DataError(f"{path.name} has the column {', '.join(twice)} twice; rename one of them")


def data_files(path: Path, format: str) -> list[tuple[str, Path]]:
    """Return the files to read, each with the split that its name tells, or an empty string.

    In a folder a file counts whose name begins with a split's, or that lies in a folder of such a
    name; without any, all tables of a Hugging Face data set count.

    Raises:
        DataError: If there is no such file, or it is not clear which of them make a split.
    """
    if not path.is_dir():
        return [("", path)]
    found = [file for file in sorted(path.rglob("*")) if _may_hold(file.relative_to(path), format)]
    named = [(split, file) for file in found if (split := _split_of(file))]
    tables = [("", file) for file in found if file.suffix.lower() in (".parquet", ".arrow")]
    if not named and not tables:
        examples = ", ".join(f"{split}{_ENDINGS[format][0]}" for split in ("train", "dev", "test"))
        raise DataError(
            f"the folder {path} has no file that is named after a split; name them {examples}, or "
            "give one file as task.path"
        )
    # The libraries of Hugging Face name their files themselves, and write others beside them.
    if format != "huggingface":
        _check_files(path, found, named)
    return named or tables


def _may_hold(file: Path, format: str) -> bool:
    """Whether a file of the folder may hold rows: editors hide copies, libraries caches."""
    return (
        file.suffix.lower() in _ENDINGS[format]
        and file.name not in _DESCRIPTIONS
        and not file.name.startswith("cache-")
        and not any(part.startswith(".") for part in file.parts)
    )


def _check_files(path: Path, found: list[Path], named: list[tuple[str, Path]]) -> None:
    """Refuse files that would be left out, and those that may be another state of a split."""
    left_out = [file.name for file in found if _split_of(file) is None]
    if left_out:
        raise DataError(
            f"the folder {path} has {_listed(left_out)}, which belong to no split; begin their "
            "names with train, dev or test, or move them elsewhere"
        )
    for split in dict.fromkeys(split for split, _ in named):
        # In a folder of the split's name, all files are of the split, whatever their names.
        names = sorted({file.name for home, file in named if home == split and _first_word(file)})
        if len({_SHARD.sub("#", name.lower()) for name in names}) > 1:
            raise DataError(
                f"the folder {path} has {_listed(names)} for {split}, which are no shards of one "
                "file (train_1, train_2); keep one, or give task.path and task.split"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")


def _split_of(file: Path) -> str | None:
    return _first_word(file) or SPLIT_NAMES.get(file.parent.name.lower())


def _first_word(file: Path) -> str | None:
    """The split that the first word of a file's own name tells."""
    return SPLIT_NAMES.get(re.split(r"[-_.]", file.name, maxsplit=1)[0].lower())
