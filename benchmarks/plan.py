"""What the command line takes before anything is started: help, mistakes, and large plans.

Each command is a process of its own, repeated; figures are medians of its CPU seconds, its time by
the clock and its largest memory.  The ratio is that of its CPU to ``python -c pass``, measured in
turn with it.

Run from the root of the repository: ``python -m benchmarks.plan``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

MISTAKES = {
    "unknown task": ["task=navigat"],
    "unknown setting": ["trainer.num_iteratons=3"],
    "wrong kind of value": ["seed=abc"],
    "unknown sweep": ["+sweep=smok"],
    "several values without -m": ["seed=1,2"],
    "value out of range": ["trainer.batch_size=0"],
    "batch larger than the data": ["trainer.batch_size=9999"],
    "data that is not there": ["task=trec", "data.dir=/nowhere"],
}
ONE_STEP = ["llm=simulated", "trainer.num_iterations=1", "trainer.batch_size=4", "action=plan"]
PLANS = {
    "1,000 trials: 1,000 seeds": ["-m", "seed=range(1000)", *ONE_STEP],
    "1,000 trials: 2 tasks, 2 networks, 5 x 50 values": [
        *("-m", "task=triage,routing", "network=dln1,dln2"),
        *("trainer.num_prompts=2,4,6,8,10", "seed=range(50)", *ONE_STEP),
    ],
    "27 BBH tasks, 189 trials": ["+sweep=bbh_all", "action=plan"],
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took."""

    wall_s: float
    cpu_s: float
    memory_mb: float
    exit_code: int


def run(command: Sequence[str]) -> Run:
    """Run a Python command to its end, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = used.ru_utime + used.ru_stime
    return Run(wall_s, cpu_s, used.ru_maxrss / 1024, process.returncode)


def measure(name: str, arguments: Sequence[str], exit_code: int, repeats: int) -> None:
    """Print the medians of a command of the orchestrator.

    Raises:
        RuntimeError: If it does not end with the exit code.
    """
    runs, bare = list[Run](), list[Run]()
    for _ in range(repeats):
        bare.append(run(["-c", "pass"]))
        runs.append(run(["-m", "orchestrator", *arguments]))
        if runs[-1].exit_code != exit_code:
            raise RuntimeError(f"{' '.join(arguments)} ended with {runs[-1].exit_code}")
    wall_s = statistics.median(one.wall_s for one in runs)
    cpu_s = statistics.median(one.cpu_s for one in runs)
    ratio = cpu_s / statistics.median(one.cpu_s for one in bare)
    memory_mb = max(one.memory_mb for one in runs)
    took = f"{cpu_s:6.2f} s CPU {wall_s:6.2f} s clock {ratio:5.0f} x bare {memory_mb:5.0f} MB"
    print(f"{name:50} {took}", flush=True)


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    measure("--help", ["--help"], 0, repeats)
    for name, arguments in MISTAKES.items():
        measure(name, arguments, 2, repeats)
    for name, arguments in PLANS.items():
        measure(name, arguments, 0, repeats)


if __name__ == "__main__":
    main()
