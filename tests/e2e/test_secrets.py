"""A key that is planted in the environment is found nowhere after a run, however it ended."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dln_core.llm.simulated import InContextReader
from tests.faults import Fault, failed
from tests.servers import ALL_ROUTES, KEY_HEADERS, OpenAIServer, serve

pytestmark = pytest.mark.slow

DEADLINE_S = 240
SMALL = (
    "task=triage", "network=dln2", "trainer=fast", "trainer.num_iterations=2",
    "trainer.batch_size=4", "trainer.num_prompts=3", "trainer.num_hidden=2", "data.max_dev=6",
    "data.max_test=6", "cluster.max_trials=1", "out_dir=out", "cache.dir=cache",
)  # fmt: skip


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in two variables of the environment."""
    value = f"sk-{secrets.token_hex(24)}"
    monkeypatch.setenv("FORWARD_KEY", value)
    monkeypatch.setenv("BACKWARD_KEY", value)
    return value


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray writes its logs; its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def endpoint(server: OpenAIServer, which: str, provider: str) -> list[str]:
    return [
        f"{which}=openai_compatible", f"{which}.provider={provider}", f"{which}.model=simulated",
        f"{which}.base_url={server.base_url}",
        f"{which}.api_key_env={'BACKWARD' if which == 'backward_llm' else 'FORWARD'}_KEY",
    ]  # fmt: skip


def repeating(key: str) -> list[Fault]:
    """What careless servers and proxies say of a request."""
    headers = ", ".join(f"{name}: {key}" for name in KEY_HEADERS)
    return [
        # Kept as the reason why a sample is lost.
        failed(400, f"no answer to a request with {headers}"),
        failed(500, f"no answer to a request with {headers}"),
        failed(429, f"too many requests with Authorization: Bearer {key}", Retry_After="0.01"),
        Fault(502, f"<html>x-api-key: {key}</html>"),
        Fault(200, f'{{"api-key": "{key}", "choices": ['),
    ]


async def run(folder: Path, ray_folder: Path, *arguments: str) -> tuple[int, bytes]:
    process = await anyio.run_process(
        [sys.executable, "-m", "orchestrator", *SMALL, *arguments],
        cwd=folder,
        stderr=subprocess.STDOUT,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAY_TMPDIR": str(ray_folder),
        },
    )
    return process.returncode, process.stdout


def holding(text: str, *folders: Path) -> list[Path]:
    """The files in which a text stands."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_a_run_leaves_its_keys_in_no_file_and_says_them_nowhere(tmp_path, ray_folder, key):
    async with serve(InContextReader(), routes=ALL_ROUTES, required_key=key) as server:

        async def fail_in_mid_run() -> None:
            await server.until(lambda: server.num_requests >= 30)
            server.fail_first(*repeating(key))

        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as group:
                group.start_soon(fail_in_mid_run)
                code, said = await run(
                    tmp_path, ray_folder, "call_log=all",
                    *endpoint(server, "llm", "openai_compatible"),
                    *endpoint(server, "backward_llm", "anthropic"),
                )  # fmt: skip
                group.cancel_scope.cancel()
        sent = {name for seen in server.seen for name in seen.headers} & set(KEY_HEADERS)
    assert code == 0, said
    assert not server.faults
    assert sent == {"Authorization", "x-api-key"}
    assert key.encode() not in said
    # What is looked through is really there.
    assert {path.name for path in tmp_path.iterdir()} >= {"out", "cache", "mlflow.db"}
    assert holding("triage", tmp_path / "out")
    assert list(ray_folder.rglob("*.log"))
    assert holding(key, tmp_path, ray_folder) == []


async def test_a_refused_key_is_named_by_its_variable_and_left_in_no_file(
    tmp_path, ray_folder, key
):
    async with serve(InContextReader(), required_key="another") as server:
        with anyio.fail_after(DEADLINE_S):
            code, said = await run(tmp_path, ray_folder, *endpoint(server, "llm", "azure"))
        sent = {name for seen in server.seen for name in seen.headers} & set(KEY_HEADERS)
    assert code == 1, said
    assert sent == {"api-key"}
    assert b"FORWARD_KEY" in said
    assert key.encode() not in said
    assert holding(key, tmp_path, ray_folder) == []
