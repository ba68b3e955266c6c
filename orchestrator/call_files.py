"""The files of logged calls: lines of JSON, added by the driver after every unit of work.

They are no part of the record that a trial is resumed from.  A line is an attempt that was made, so
it stays when its unit of work has to be computed again: that takes the answers that are stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread

from dln_core.errors import JournalError
from dln_core.trial import Services
from orchestrator.cluster.ray_cluster import remote_errors
from orchestrator.files import journal_errors, to_json

CALLS_FILE = "calls.jsonl"


@asynccontextmanager
async def collecting_calls(
    actor: Any, services: Services, path: Path, stamp: dict[str, Any]
) -> AsyncIterator[None]:
    """Write down what an actor has logged once a unit of work is over, also if it failed.

    Args:
        actor: Does the unit of work; its ``calls`` hands over what was logged.
        services: Whether calls are logged at all.
        path: The file; see ``append_calls``.
        stamp: What is added to every line.

    Raises:
        ActorLostError: If the actor died, and its calls with it.
        JournalError: If the file system refuses.
    """
    try:
        yield
    finally:
        if services.call_log is not None:
            with remote_errors():
                taken = json.loads(await actor.calls.remote())
            await anyio.to_thread.run_sync(append_calls, path, taken, stamp)


def append_calls(path: Path, taken: dict[str, Any], stamp: dict[str, Any]) -> None:
    """Add what an actor handed over.

    Args:
        path: The file; it begins with the first call.
        taken: ``entries``, and ``num_left_out``: how many there was no room for.
        stamp: What is added to every line.

    Raises:
        JournalError: If the file system refuses.
    """
    lines = list(taken["entries"])
    if taken["num_left_out"]:
        lines.append({"num_left_out": taken["num_left_out"]})
    if not lines:
        return
    with journal_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            _cut_half_a_line(file)
            file.write("".join(to_json(stamp | line) + "\n" for line in lines).encode())


def read_calls(path: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file from position ``start`` on; none if it is not there.

    Raises:
        JournalError: If a line is broken or the file system refuses.
    """
    if not path.exists():
        return
    with journal_errors(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # it is still being written
            if number <= start:
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise JournalError(
                    f"line {number} of {path} is broken; delete that line, or the whole file: "
                    "nothing but the list of calls depends on it"
                ) from error


def _cut_half_a_line(file: BinaryIO) -> None:
    """Remove what a crash left of a last line."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1))
    if file.read(1) not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
