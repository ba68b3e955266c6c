"""Disks that are full or read-only: named in a sentence, and the work done so far is kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_sweeps import rows_of, run

pytestmark = pytest.mark.slow

TRIAL = ("network=dln1", "trainer.num_iterations=6", "trainer.patience=null")


@pytest.fixture
def disk(tmp_path):
    """Mount a small disk of its own where the sweep writes; yield a function that resizes it."""
    folder = tmp_path / "out"
    folder.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def num_events(folder: Path) -> int:
    paths = folder.glob("out/trials/*/events.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in paths)


def only_sentence(said: str) -> str:
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    return line


def test_a_full_disk_is_named_and_the_sweep_goes_on_once_there_is_room(disk, tmp_path):
    disk("size=96k")
    code, said = run(tmp_path, *TRIAL)
    assert code == 1, said
    assert "No space left on device" in only_sentence(said)
    assert num_events(tmp_path) > 0
    disk("remount,size=64m")
    code, said = run(tmp_path, *TRIAL)
    assert code == 0, said
    (row,) = rows_of(tmp_path)
    assert row["status"] == "finished"
    assert num_events(tmp_path) == 8


def test_a_read_only_folder_is_named_before_anything_is_started(disk, tmp_path):
    disk("size=1m,ro")
    code, said = run(tmp_path, *TRIAL)
    assert code == 1, said
    assert "Read-only file system" in only_sentence(said)
    assert "starting" not in said
