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
        assert ("absent or damaged" in line) == ("generated" not in line)


@pytest.mark.parametrize("width", [80, 110, 150, 300])
def test_every_task_has_one_line_of_the_terminal(capsys, monkeypatch, tmp_path, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["list", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert len(rows) == len(task_names())
    assert max(map(len, rows)) <= width
    assert "source" in out
    assert ("source" in out.partition("In a wider terminal")[2]) == (width < 300)


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


def test_the_list_tells_kind_labels_licence_and_source(capsys, data_dir):
    assert main(["list", "--data-dir", str(data_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if " snarks " in line]
    told = ("bbh", "50 / 75 / 53", "(A) to (B)", "MIT", "suzgunmirac/BIG-Bench-Hard@9ee07bd481fe")
    assert all(text in line for text in told)
    (line,) = [line for line in lines if " rankings " in line]
    assert all(text in line for text in ("200 / 100 / 250", "(A) to (E)", "MIT", "generated"))


def test_data_of_ones_own_is_shown_as_a_run_would_read_it(capsys, tmp_path):
    path = tmp_path / "mine.csv"
    rows = "".join(f"Message {i},{('Calm', 'Urgent')[i % 2]}\n" for i in range(40))
    path.write_text(f"text,class\n{rows}", "utf-8")
    arguments = [f"path={path}", "task.input=text", "label=class", "labels=[Calm,Urgent]"]
    assert main(["show", "csv", *arguments]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("20 / 10 / 10", "Calm, Urgent", "own", "mine.csv"))


def test_an_empty_list_of_labels_means_free_text(capsys, tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(f'{{"q": "{n} + 1", "a": "{n + 1}"}}\n' for n in range(20)))
    assert main(["show", "jsonl", f"path={path}", "input=q", "label=a", "labels=[]"]) == 0
    assert "free (text)" in capsys.readouterr().out


def test_another_split_is_shown(capsys, data_dir):
    assert main(["show", "trec", "split=paper_code", "--data-dir", str(data_dir)]) == 0
    out = capsys.readouterr().out
    assert "1000 / 256 / 250" in out
    assert "137 inputs of test in dev" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["csv"], "task=csv lacks task.path, task.input, task.label"),
        (["csv", "path"], "path is no setting; write KEY=VALUE"),
        (["csv", "paht=x"], "'paht' is no setting of TaskConfig"),
    ],
)
def test_settings_that_cannot_be_shown_end_with_2(arguments, told, capsys):
    assert main(["show", *arguments]) == 2
    assert told in capsys.readouterr().err
