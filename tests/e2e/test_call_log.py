"""The call log of whole sweeps, also of one that is killed and resumed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.test_sweeps import run, start, wait_for_events

pytestmark = pytest.mark.slow

SWEEP = ("network=dln1", "seed=13", "trainer.num_iterations=4", "call_log=all")


def contents(folder: Path) -> Counter[str]:
    """How often each request is in the logs, whoever made it and whenever."""
    files = [*folder.glob("out/trials/*/calls.jsonl"), *folder.glob("out/baselines/*.calls.jsonl")]
    entries = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    kept = ("kind", "messages", "parameters", "targets")
    return Counter(json.dumps([entry[name] for name in kept]) for entry in entries)


def test_a_killed_sweep_logs_on_and_no_call_twice(tmp_path):
    with start(tmp_path, *SWEEP) as driver:
        wait_for_events(tmp_path, driver, 2)
        driver.kill()
    before = contents(tmp_path)
    assert before
    code, said = run(tmp_path, *SWEEP)
    assert code == 0, said
    after = contents(tmp_path)
    assert before < after
    # A trial and the reference points may both send what they ask at the same time.
    assert all(count <= 2 for count in after.values())
    code, said = run(tmp_path, *SWEEP, "action=calls")
    assert code == 0, said
    assert f"of {after.total()} logged calls" in said
    assert (tmp_path / "out" / "calls.html").exists()
    code, said = run(tmp_path, *SWEEP)
    assert (code, contents(tmp_path)) == (0, after)
