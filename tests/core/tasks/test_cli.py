"""The command line of the tasks."""

from __future__ import annotations

import pytest

from dln_core.tasks import task_names
from dln_core.tasks.__main__ import main


def test_the_list_names_every_task_even_without_data(capsys, tmp_path):
    assert main(["list", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in task_names():
        (line,) = [line for line in lines if f" {name} " in line]
        assert ("data absent" in line) == ("generated" not in line)


def test_a_shown_task_tells_sizes_instruction_and_examples(capsys):
    assert main(["show", "triage"]) == 0
    out = capsys.readouterr().out
    assert "200 / 100 / 240" in out
    assert "Urgent or Normal" in out
    assert all(out.count(f" {split} ") >= 3 for split in ("train", "dev", "test"))


@pytest.mark.parametrize("command", ["show", "fetch"])
def test_an_unknown_task_ends_with_2_and_near_names(command, capsys):
    assert main([command, "navigte"]) == 2
    assert "navigate" in capsys.readouterr().err


def test_showing_absent_data_ends_with_2_and_the_remedy(capsys, tmp_path):
    assert main(["show", "trec", "--data-dir", str(tmp_path)]) == 2
    assert "python -m dln_core.tasks fetch trec" in capsys.readouterr().err


def test_data_that_is_in_place_is_verified_and_not_downloaded(capsys, data_dir):
    assert main(["fetch", "all", "--data-dir", str(data_dir)]) == 0
    assert "0 of 44 files downloaded" in capsys.readouterr().out
