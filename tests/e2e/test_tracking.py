"""A sweep recorded by a server that dies on the way, and what people do with the record."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.browser import browser_page, needs_chromium
from tests.e2e.test_sweeps import run, start, wait_for_events
from tests.services import Service, mlflow_server, simulated_llm

pytestmark = pytest.mark.slow

# How much longer the server is away than half of the sweep takes.
OUTAGE_S = float(os.environ.get("DLN_OUTAGE_S", "0"))
NUM_TRIALS, NUM_STEPS = 8, 5
DEADLINE_S = 240


@dataclass
class Recorded:
    """A sweep that is over, the server that holds its record, and the model that it used.

    ``said`` is what the sweep said; ``arguments`` start it again.
    """

    folder: Path
    server: Service
    llm: Service
    arguments: tuple[str, ...]
    said: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/server.db")

    def runs(self, kind: str = "trial") -> dict[str, Any]:
        experiment = self.client.get_experiment_by_name("dln").experiment_id
        found = self.client.search_runs([experiment], f"tags.kind = '{kind}'")
        return {run.data.tags.get("trial_id", ""): run for run in found}

    def rows(self, tracked: Any, name: str) -> list[tuple[int, int, float]]:
        """Step, time and value of every point of a run's metric."""
        history = self.client.get_metric_history(tracked.info.run_id, name)
        return [(point.step, point.timestamp, point.value) for point in history]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    with mlflow_server(folder) as server, simulated_llm(folder, latency_s=0.1) as llm:
        arguments = (
            "-m", "network=dln1", f"seed=range(1,{NUM_TRIALS + 1})", "llm=openai_compatible",
            f"llm.base_url={llm.url}/v1", "llm.model=simulated", "cluster.max_trials=4",
            f"trainer.num_iterations={NUM_STEPS}", f"tracking.uri={server.url}",
            "call_log.share=0.1", "tracking.traces=true", "cluster.dashboard_port=0",
        )  # fmt: skip
        with start(folder, *arguments) as driver:
            wait_for_events(folder, driver, 4)
            server.kill()
            # Training goes on without it, for as long as this takes.
            wait_for_events(folder, driver, NUM_TRIALS * NUM_STEPS // 2)
            # However long the server takes, the sweep is not over when it is back.
            llm.pause()
            time.sleep(OUTAGE_S)
            server.start()
            llm.resume()
            said, _ = driver.communicate(timeout=DEADLINE_S)
        assert driver.returncode == 0, said
        yield Recorded(folder, server, llm, arguments, said)


def events_of(folder: Path, trial_id: str) -> list[dict[str, Any]]:
    path = folder / "out" / "trials" / trial_id / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of_store(path: Path) -> dict[str, list[str]]:
    """Every row of every table."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))
            for (name,) in names.fetchall()
        }


def test_training_goes_on_while_the_server_is_away(recorded):
    assert "training goes on" in recorded.said
    assert len(recorded.runs()) == NUM_TRIALS


def test_afterwards_the_store_equals_the_journals_row_by_row(recorded):
    for trial_id, tracked in recorded.runs().items():
        events = events_of(recorded.folder, trial_id)
        assert len(events) == NUM_STEPS + 2
        expected: dict[str, list[tuple[int, int, float]]] = {}
        for event in events:
            for name, value in event["metrics"].items():
                row = (event["step"], int(1000 * event["time"]), float(value))
                expected.setdefault(name, []).append(row)
        rows = {name: recorded.rows(tracked, name) for name in tracked.data.metrics}
        assert {name: rows[name] for name in expected} == expected
        calls = [sum(role["calls"] for role in event["usage"].values()) for event in events]
        assert [value for *_, value in rows["calls/asked"]] == list(accumulate(calls))
        config = recorded.folder / "out" / "trials" / trial_id / "config.yaml"
        settings = yaml.safe_load(config.read_text())
        params, tags = tracked.data.params, tracked.data.tags
        assert params["trainer.num_iterations"] == str(settings["trainer"]["num_iterations"])
        assert (params["seed"], tags["seed"]) == (str(settings["seed"]),) * 2
        assert tags["dln.recorded_events"] == str(len(events))
        assert (tags["status"], tracked.info.status) == ("finished", "FINISHED")
        assert tracked.info.start_time == int(1000 * events[0]["time"])
        assert tracked.info.end_time == int(1000 * events[-1]["time"])


def test_completing_again_adds_nothing(recorded):
    before = rows_of_store(recorded.folder / "server.db")
    code, said = run(recorded.folder, *recorded.arguments, "action=sync")
    assert code == 0, said
    assert rows_of_store(recorded.folder / "server.db") == before


def test_only_trials_have_metrics_and_the_sweep_has_its_report(recorded):
    [sweep] = recorded.runs("sweep").values()
    assert sweep.data.metrics == {}
    root = recorded.folder / "artifacts"
    [report] = root.rglob(f"{sweep.info.run_id}/artifacts/report.html")
    assert report.read_text() == (recorded.folder / "out" / "report.html").read_text()
    assert all("test/accuracy" in run.data.metrics for run in recorded.runs().values())
    assert sweep.info.run_id not in recorded.said


def test_logged_calls_are_traces_of_their_runs(recorded):
    client = recorded.client
    experiment = client.get_experiment_by_name("dln").experiment_id
    spans: dict[str, int] = {}
    for trace in client.search_traces(locations=[experiment], max_results=500):
        run_id = trace.info.trace_metadata["mlflow.sourceRun"]
        # One span stands for the unit of work, the others for its calls.
        spans[run_id] = spans.get(run_id, 0) + len(trace.data.spans) - 1
    for trial_id, run_of_trial in recorded.runs().items():
        path = recorded.folder / "out" / "trials" / trial_id / "calls.jsonl"
        assert spans[run_of_trial.info.run_id] == len(path.read_text().splitlines())


@needs_chromium
async def test_the_compare_page_and_the_charts_show_the_trials(recorded, tmp_path):
    compare = recorded.said.partition("compare them at: ")[2].split()[0]
    assert compare.startswith(recorded.server.url)
    async with browser_page(compare, width=1500, height=1150) as page:
        await page.wait_for("text=Comparing 8 Runs from 1 Experiment")
        text = await page.text()
        assert all(f"triage dln1 {seed}" in text for seed in range(1, NUM_TRIALS + 1))
        charts = recorded.said.partition("their charts: ")[2].split()[0]
        await page.driver.goto(charts)
        await page.driver.reload()
        await page.driver.get_by_placeholder("Search metric charts").fill("elbo$|accuracy$")
        await page.wait_for(".js-plotly-plot .scatterlayer .trace")
        assert f"{NUM_TRIALS} matching runs" in await page.text()
        # MLflow asks who is logged in, which a server without logins does not know; and browsers
        # report charts that are resized while they are drawn.
        harmless = ("404", "ResizeObserver")
        assert [e for e in page.errors if not any(word in e for word in harmless)] == []


def test_the_best_network_is_served_and_answers(recorded):
    [version] = recorded.client.search_model_versions()
    uri = f"models:/{version.name}@best"
    assert version.run_id in {run.info.run_id for run in recorded.runs().values()}
    programs = Path(sys.executable).parent
    command = [
        str(programs / "mlflow"), "models", "serve", "-m", uri,
        "--env-manager", "local", "--port", "{port}", "--workers", "1",
    ]  # fmt: skip
    env = {
        "MLFLOW_TRACKING_URI": recorded.server.url,
        "XDG_CACHE_HOME": str(recorded.folder),
        # As where the environment is activated: MLflow looks for uvicorn.
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    with Service(command, recorded.folder / "serve.log", env, recorded.folder) as served:
        body = json.dumps({"dataframe_split": {"columns": ["input"], "data": [["Fire!"], ["Hi."]]}})
        request = urllib.request.Request(
            f"{served.url}/invocations", body.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answers = json.load(response)["predictions"]
    assert len(answers) == 2
    assert set(answers) <= {"Urgent", "Normal"}


def test_the_prompt_registry_holds_the_best_prompt(recorded):
    [version] = recorded.client.search_model_versions()
    prompt = recorded.client.get_prompt_version_by_alias(f"{version.name}.output", "best")
    path = recorded.folder / "out" / "trials" / version.tags["trial_id"] / "network.json"
    [layer] = json.loads(path.read_text())["layers"]
    assert layer["prompts"][0]["instruction"] in prompt.template
