"""What it takes to load each task, in a process of its own.

Seconds are counted from the import of the tasks on; the imports are told apart, since a run makes
them once.  Memory is the most that the process ever had, the interpreter included.

Run from the root of the repository: ``python -m benchmarks.tasks --data-dir FOLDER`` (Linux).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

from rich.console import Console
from rich.table import Table

NUM_SHOWN = 5
MEGABYTE_KIB = 1000**2 / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one task took.

    Attributes:
        name: The task.
        import_s: Seconds for the imports.
        wall_s: Seconds for its data, on the clock.
        cpu_s: The same of CPU time, whatever else runs on the machine.
        peak_mb: Most memory of the process, in megabytes.
    """

    name: str
    import_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Load every task and print the slowest and the largest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", metavar="FOLDER", help="default: DLN_DATA_DIR, or the cache")
    parser.add_argument("--one", metavar="NAME", help="load this task here, and print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.one is not None:
        print(json.dumps(asdict(_load(chosen.one, chosen.data_dir))))
        return 0
    from dln_core.tasks import task_names
    from dln_core.tasks.registry import files_of
    from dln_core.tasks.sources import data_folder

    folder, console = data_folder(chosen.data_dir), Console()
    names = [n for n in task_names() if all((folder / file).exists() for file in files_of(n))]
    if len(names) < len(task_names()):
        console.print(f"{len(task_names()) - len(names)} tasks are left out: no data in {folder}")
    loads = [_in_its_own_process(name, chosen.data_dir) for name in names]
    for title, field in (("slowest", "wall_s"), ("most CPU", "cpu_s"), ("largest", "peak_mb")):
        worst = sorted(loads, key=attrgetter(field), reverse=True)[:NUM_SHOWN]
        console.print(_table(f"{title} of {len(loads)} tasks", worst))
    return 0


def _in_its_own_process(name: str, folder: str | None) -> Load:
    command = [sys.executable, "-m", "benchmarks.tasks", "--one", name]
    where = [] if folder is None else ["--data-dir", folder]
    done = subprocess.run(command + where, stdout=subprocess.PIPE, check=True)
    return Load(**json.loads(done.stdout))


def _load(name: str, folder: str | None) -> Load:
    start = time.perf_counter()
    from dln_core.config import DataConfig, TaskConfig
    from dln_core.tasks import load_task

    imported, cpu = time.perf_counter(), time.process_time()
    load_task(TaskConfig(name=name), DataConfig(dir=folder))
    return Load(
        name=name,
        import_s=imported - start,
        wall_s=time.perf_counter() - imported,
        cpu_s=time.process_time() - cpu,
        peak_mb=_peak_kib() / MEGABYTE_KIB,
    )


def _peak_kib() -> int:
    # Not getrusage: its maximum counts the memory of the process that forked this one.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("this system does not tell the most memory of a process; use Linux")
    return int(found[1])


def _table(title: str, loads: Sequence[Load]) -> Table:
    table = Table(title=title)
    table.add_column("task")
    for heading in ("seconds", "CPU seconds", "imports, seconds", "MB"):
        table.add_column(heading, justify="right")
    for load in loads:
        figures = (f"{load.wall_s:.2f}", f"{load.cpu_s:.2f}", f"{load.import_s:.2f}")
        table.add_row(load.name, *figures, f"{load.peak_mb:.0f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
