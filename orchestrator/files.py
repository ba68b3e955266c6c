"""Reading and writing the files of an output folder so that a crash never leaves half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dln_core.errors import JournalError


@contextmanager
def journal_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a ``JournalError`` that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise JournalError(
            f"{path} cannot be read or written ({reason}); free space or rights there, or give "
            "another out_dir, and run the same command again"
        ) from error


def write_atomic(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old or the new text, also after a crash.

    Raises:
        JournalError: If the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with journal_errors(path):
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add one line to a file and wait until the disk has it.

    Raises:
        JournalError: If the file system refuses.
    """
    with journal_errors(path), path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def to_json(value: Any) -> str:
    """Write a value as one line of JSON; the same value always gives the same text."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_json(path: Path) -> Any:
    """Read a JSON file; None if it is not there or is not JSON.

    Raises:
        JournalError: If the file system refuses.
    """
    with journal_errors(path):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the JSON values of a file that holds one a line.

    Raises:
        JournalError: If the file system refuses, or a line is not JSON.
    """
    with journal_errors(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise JournalError(
                    f"line {number} of {path} is broken; delete the trial's folder and run the "
                    "same command again"
                ) from error
