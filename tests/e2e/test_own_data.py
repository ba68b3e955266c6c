"""A CSV and a judge of the user's own, from the shell to the results."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ARGUMENTS = (
    "task=csv", "task.path=mine.csv", "task.input='Message text'", "task.label=Class",
    "task.judge=my_judge:likeness", "task.metric=mean_score", "baselines=[]", "llm=simulated",
    "network=dln1", "trainer=fast", "trainer.batch_size=4", "trainer.num_iterations=1",
    "trainer.num_prompts=2", "out_dir=out", "cache.dir=cache",
)  # fmt: skip
JUDGE = "def likeness(prediction, target):\n    return 0.75 if target in prediction else 0.25\n"
TEXTS = {
    "Urgent": 'The "lift" no. {} is stuck;\npeople, and a dog, are in it, für Stunden',
    "Calm": "Paint wall {}",
}
ROWS = [(text.format(i), label) for i in range(20) for label, text in TEXTS.items()]


def write_as_a_spreadsheet_does(path: Path) -> None:
    """Write what spreadsheets save where the comma is the decimal mark, byte for byte."""
    quoted = ((text.replace('"', '""'), label) for text, label in ROWS)
    lines = [f'"{text}";{label}' if '"' in text else f"{text};{label}" for text, label in quoted]
    content = "\r\n".join(["Message text;Class", *lines, ""])
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())


def test_a_spreadsheets_csv_is_trained_on(tmp_path: Path) -> None:
    write_as_a_spreadsheet_does(tmp_path / "mine.csv")
    (tmp_path / "my_judge.py").write_text(JUDGE)
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
    assert (row["task"], row["status"], row["metric"]) == ("csv", "finished", "mean_score")
    assert 0.25 <= float(row["test_accuracy"]) <= 0.75
    (file,) = (tmp_path / "out" / "trials").glob("*/predictions.jsonl")
    items = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert len(items) == len(ROWS) // 4
    assert {(item["input"], item["target"]) for item in items} <= set(ROWS)
    assert {item["target"] for item in items} == set(TEXTS)
    # No reference points were asked for.
    assert len((tmp_path / "out" / "baselines.csv").read_text().splitlines()) == 1
