"""A whole search by Optuna with early stopping, killed in the middle and resumed."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.search.sampling import choose
from orchestrator.search.space import Choice, Space
from tests.e2e.test_sweeps import DEADLINE_S, events_of, rows_of, run, start

pytestmark = pytest.mark.slow

KEY = "trainer.num_prompts"
GOOD, POOR = {KEY: "8"}, {KEY: "1"}
# One trial at a time, so that the order of validations is known.
SEARCH = (
    "search=optuna", "search.num_settings=3", "search.round_size=2", "network=dln1", f"{KEY}=1,8",
    "scheduler=asha", "scheduler.min_steps=1", "scheduler.reduction_factor=2",
    "trainer.num_iterations=3", "trainer.num_hidden=2", "cluster.max_trials=1", "baselines=[]",
)  # fmt: skip


def seed_of(*settings):
    """A seed whose first settings are these."""
    space = Space((Choice(KEY, ("1", "8")),), {})
    wanted = list(settings)
    return next(n for n in itertools.count() if choose(space, [], len(wanted), n) == wanted)


def chosen(folder: Path) -> list[dict[str, str]]:
    saved = json.loads((folder / "out" / "search.json").read_text())
    return [each["values"] for each in saved["settings"]]


def events_that_count(folder: Path) -> dict[str, bytes]:
    """What is recorded of each trial; an event beyond its state is dropped after a kill."""
    recorded = {}
    for state in folder.glob("out/trials/*/state.json"):
        num_events = json.loads(state.read_text())["num_events"]
        if num_events:
            lines = (state.parent / "events.jsonl").read_bytes().splitlines(keepends=True)
            recorded[state.parent.name] = b"".join(lines[:num_events])
    return recorded


def wait_for_a_stop(folder: Path, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and driver.poll() is None:
        if any(b'"kind":"stop"' in events for events in events_that_count(folder).values()):
            return
        time.sleep(0.02)
    pytest.fail("no trial was ended early")


def test_a_killed_search_goes_on_with_the_same_settings_and_decisions(tmp_path):
    arguments = (*SEARCH, f"search.seed={seed_of(GOOD, POOR)}")
    with start(tmp_path, *arguments) as driver:
        wait_for_a_stop(tmp_path, driver)
        driver.kill()
    before, settings = events_that_count(tmp_path), chosen(tmp_path)
    assert settings == [GOOD, POOR]

    code, said = run(tmp_path, *arguments)
    assert code == 0, said
    assert "search: 3 of 3 settings are chosen" in said
    assert f"the best on dev is {KEY}=8" in said
    assert chosen(tmp_path)[:2] == settings
    after = events_of(tmp_path)
    assert all(after[trial_id].startswith(events) for trial_id, events in before.items())

    good, poor = rows_of(tmp_path)[:2]
    assert (good["stopped"], good["steps"]) == ("", "3")
    assert (poor["stopped"], poor["steps"], poor["test_looks"]) == ("pruned", "1", "1")
    assert after[poor["trial_id"]].count(b'"kind":"stop"') == 1
    assert "stopped: pruned" in said
