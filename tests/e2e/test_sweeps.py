"""Whole sweeps as a user starts them, with real Ray and MLflow; kills are in ``test_chaos``."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DEADLINE_S = 240
TIMES_AND_PAYMENTS = ("seconds", "cost_usd", "paid_calls", "paid_tokens_prompt")
TIMES_AND_PAYMENTS += ("paid_tokens_completion",)
SMALL = (
    "llm=simulated", "task=triage", "trainer=fast", "trainer.batch_size=6",
    "trainer.num_prompts=4", "trainer.num_hidden=2", "data.max_dev=10", "data.max_test=20",
    "cluster.max_trials=2", "out_dir=out", "cache.dir=cache",
)  # fmt: skip


def attend_to_interrupts() -> None:
    """Undo what a shell does to its background jobs, which ignore SIGINT and pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *arguments: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *SMALL, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=attend_to_interrupts,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    with start(folder, *arguments) as driver:
        said, _ = driver.communicate(timeout=DEADLINE_S)
    return driver.returncode, said


def wait_for_events(folder: Path, driver: subprocess.Popen[str], count: int) -> None:
    """Wait until the journals hold some events of a sweep that is still running."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and driver.poll() is None:
        if (
            sum(path.read_text().count("\n") for path in folder.glob("out/trials/*/events.jsonl"))
            >= count
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"the sweep ended or stood still before {count} events were recorded")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES_AND_PAYMENTS} for row in rows]


def events_of(folder: Path) -> dict[str, bytes]:
    return {
        path.parent.name: path.read_bytes() for path in folder.glob("out/trials/*/events.jsonl")
    }


LONG = ("-m", "network=zero_shot,dln1,dln2", "seed=13,42", "trainer.num_iterations=6")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, said = run(folder, *LONG)
    assert code == 0, said
    return folder


def test_a_sweep_leaves_results_reference_points_and_a_report(undisturbed):
    rows = rows_of(undisturbed)
    assert [row["status"] for row in rows] == ["finished"] * 5
    plan = json.loads((undisturbed / "out" / "plan.json").read_text())
    assert [row["trial_id"] for row in rows] == [trial["trial_id"] for trial in plan["trials"]]
    assert (undisturbed / "out" / "baselines.csv").read_text().count("initial_calibrated") == 1
    assert (undisturbed / "out" / "report.html").exists()
    assert (undisturbed / "mlflow.db").exists()


def test_a_finished_sweep_is_not_run_again(undisturbed):
    before = events_of(undisturbed)
    code, said = run(undisturbed, *LONG)
    assert (code, events_of(undisturbed)) == (0, before)
    assert "Ray" not in said
    assert "compare them at" in said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_says_that_it_can_be_resumed(tmp_path, how):
    with start(tmp_path, *LONG) as driver:
        wait_for_events(tmp_path, driver, 3)
        driver.send_signal(how)
        said, _ = driver.communicate(timeout=DEADLINE_S)
    assert driver.returncode == 130, said
    assert "the same command goes on" in said
    assert {"unfinished", "pending"} & {row["status"] for row in rows_of(tmp_path)}


@pytest.mark.parametrize("output", ["json", "plain"])
def test_a_sweep_that_nobody_reads_any_more_says_so_once_and_is_kept(tmp_path, output):
    arguments = ("network=dln1", "seed=13", "trainer.num_iterations=2", f"output={output}")
    with start(tmp_path, *arguments, stderr=subprocess.PIPE) as driver:
        wait_for_events(tmp_path, driver, 1)
        driver.stdout.close()
        said = driver.stderr.read()
    assert driver.returncode == 1
    assert said.count("the output could not be written; the same command goes on") == 1
    assert "Traceback" not in said
    assert [row["status"] for row in rows_of(tmp_path)] == ["unfinished"]


def test_an_endpoint_out_of_reach_ends_the_sweep_with_one_sentence(tmp_path):
    code, said = run(
        tmp_path, "-m", "network=dln1", "seed=range(1,9)", "llm=openai_compatible",
        "llm.base_url=http://127.0.0.1:9/v1", "llm.model=m",
    )  # fmt: skip
    assert code == 1
    assert said.count("the language model is of no use") == 1
    assert "Traceback" not in said
    assert [row["status"] for row in rows_of(tmp_path)].count("pending") > 0


def test_a_budget_ends_training_and_the_best_networks_are_tested(tmp_path):
    code, said = run(
        tmp_path, "network=dln1", "trainer.num_iterations=50", "trainer.patience=null",
        "budget.max_tokens=30000",
    )  # fmt: skip
    assert code == 0, said
    (row,) = rows_of(tmp_path)
    assert row["status"] == "finished"
    assert int(row["steps"]) < 50
    assert row["test_accuracy"]
    assert "finished (stopped: budget)" in said
