"""A process of its own that stores answers and prints each key once its put has returned."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import anyio

from dln_core.llm.store import AnswerStore

NUM_WORKERS = 8


async def write(path: Path, prefix: str, count: int | None) -> None:
    store = AnswerStore(path)
    numbers = itertools.count() if count is None else iter(range(count))

    async def work() -> None:
        for number in numbers:
            key = f"{prefix}{number}"
            await store.put({key.encode(): f"answer to {key}".encode()})
            sys.stdout.write(f"{key}\n")
            sys.stdout.flush()

    async with anyio.create_task_group() as group:
        for _ in range(NUM_WORKERS):
            group.start_soon(work)
    store.close()


if __name__ == "__main__":
    path, prefix, count = sys.argv[1:]
    anyio.run(write, Path(path), prefix, None if count == "endless" else int(count))
