"""Programs that tests start beside the command: on loopback, on free ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_DEADLINE_S = 240.0


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """A program that listens on a port; it can be killed and started again.

    Args:
        command: What is started; ``{port}`` stands for the port.
        log: File that takes what it says.
        env: Variables that it has beside those of the tests.
        cwd: Where it works.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as connection:
                if connection.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"{self._command} does not listen: {self._log.read_text()[-2000:]}")

    def pause(self) -> None:
        """Let it stand still: connections stay open, nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it with all that it started, without a warning."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()


def mlflow_server(folder: Path) -> Service:
    """Return a tracking server, whose database and files are in a folder."""
    command = [
        str(Path(sys.executable).with_name("mlflow")), "server", "--workers", "1",
        "--host", "127.0.0.1", "--port", "{port}",
        "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Service(command, folder / "server.log", env, folder)


def simulated_llm(folder: Path, *, latency_s: float = 0.0) -> Service:
    """Return a simulated endpoint."""
    command = [
        sys.executable, "-m", "dln_core.llm.simulated", "serve", "--port", "{port}",
        "--latency", str(latency_s), "--seconds-per-token", "0",
    ]  # fmt: skip
    return Service(command, folder / "llm.log", {"PYTHONPATH": str(Path(__file__).parents[1])})
