"""A CSV and a judge of the user's own, from the shell to the results."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ARGUMENTS = (
    "task=csv", "task.path=mine.csv", "task.input='Message text'", "task.label=Class",
    "task.judge=my_judge:right", "llm=simulated", "network=dln1", "trainer=fast",
    "trainer.batch_size=4", "trainer.num_iterations=1", "trainer.num_prompts=2",
    "out_dir=out", "cache.dir=cache",
)  # fmt: skip


def write_as_a_spreadsheet_does(path: Path) -> None:
    texts = {"Urgent": 'The "lift" no. {} is stuck;\npeople are in it', "Calm": "Paint wall {}"}
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Message text", "Class"])
        writer.writerows(
            [text.format(i), label] for i in range(20) for label, text in texts.items()
        )


def test_a_spreadsheets_csv_is_trained_on(tmp_path: Path) -> None:
    write_as_a_spreadsheet_does(tmp_path / "mine.csv")
    judge = "def right(prediction, target):\n    return target in prediction\n"
    (tmp_path / "my_judge.py").write_text(judge)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *ARGUMENTS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["task"], row["status"]) == ("csv", "finished")
    assert 0 <= float(row["test_accuracy"]) <= 1
