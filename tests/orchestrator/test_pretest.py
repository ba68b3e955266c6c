"""``action=pretest``: a table, what it means, and a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import cli


def test_each_task_and_network_is_pretested_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir = tmp_path / "out"
    arguments = [
        "+sweep=smoke",
        "network=dln1,dln2",
        "action=pretest",
        f"out_dir={out_dir}",
        f"cache.dir={tmp_path / 'cache'}",
    ]
    assert cli.main(arguments) == 0
    found = json.loads((out_dir / "pretest.json").read_text())
    assert [one["network"] for one in found] == ["dln1", "dln2"]
    printed = capsys.readouterr().out
    assert "triage dln2: accuracy in percent on 12 dev examples" in printed
    assert "on the other half" in printed
    assert "The prompts of thoughts and output interact most" in printed
    paid = sum(counts["paid_calls"] for one in found for counts in one["usage"].values())
    assert f"of which {paid:,} were sent" in printed
    assert cli.main(arguments) == 0
    assert "of which 0 were sent" in capsys.readouterr().out


def test_wrong_settings_are_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["action=pretest", "llm=simulated", "pretest.num_examples=3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: pretest.num_examples=3 tells nothing")
    assert error.count("\n") == 1
