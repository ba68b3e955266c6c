"""Servers of local models that the driver starts and stops."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import aiohttp
import anyio
import pytest

from dln_core.errors import LLMError
from orchestrator.cluster import local_server
from orchestrator.groups import first_of

# A child holds the pipe open beyond the server's own end, as helpers of real servers do.
SERVER = """
import http.server, subprocess, sys
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
print(f"serving toy at http://127.0.0.1:{server.server_port}/v1", flush=True)
server.serve_forever()
"""
FAILS_ONCE = (
    """
import pathlib, sys
marks = pathlib.Path("MARKS")
(marks / str(len(list(marks.iterdir())))).touch()
if len(list(marks.iterdir())) == 2:
    sys.exit("no memory")
"""
    + SERVER
)
ENDS_SOON = SERVER.replace("serve_forever()", "handle_request()").replace("sleep(3)", "sleep(0)")


def start(monkeypatch, script):
    started = []

    async def start_script(model, port):
        command = [sys.executable, "-c", script, str(port)]
        process = await anyio.open_process(command, stdin=subprocess.DEVNULL)
        started.append(process)
        return process

    monkeypatch.setattr(local_server, "_start", start_script)
    return started


async def test_a_server_ends_with_the_block_that_used_it(monkeypatch):
    started = start(monkeypatch, SERVER)
    async with local_server.serve(["toy"]) as addresses:
        assert addresses["toy"].endswith("/v1")
        assert started[0].returncode is None
    assert started[0].returncode is not None


async def test_an_interrupt_stops_the_server_and_stays_an_interrupt(monkeypatch):
    started = start(monkeypatch, SERVER)
    with pytest.raises(ExceptionGroup) as caught:
        async with local_server.serve(["toy"]):
            raise InterruptedError("stop")
    assert [type(error) for error in caught.value.exceptions] == [InterruptedError]
    with anyio.CancelScope() as scope:
        async with local_server.serve(["toy"]):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert all(process.returncode is not None for process in started)


async def test_a_server_that_is_killed_comes_back_at_its_address(monkeypatch, capsys):
    started = start(monkeypatch, SERVER)
    async with local_server.serve(["toy"]) as addresses:
        started[0].kill()
        await started[0].wait()
        with anyio.fail_after(20):
            await answer_of(addresses["toy"])
    assert [process.returncode is None for process in started] == [False, False]
    assert "model toy ended (-9); it is started again" in capsys.readouterr().err


async def answer_of(address):
    """Ask until there is an answer."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(address) as response:
                    return response.status
            await anyio.sleep(0.05)


async def test_a_server_that_dies_while_it_starts_again_is_started_once_more(monkeypatch, tmp_path):
    started = start(monkeypatch, FAILS_ONCE.replace("MARKS", str(tmp_path)))
    async with local_server.serve(["toy"]) as addresses:
        started[0].kill()
        await started[0].wait()
        with anyio.fail_after(20):
            await answer_of(addresses["toy"])
    assert len(started) == 3


async def test_a_server_that_ends_time_and_again_ends_the_block(monkeypatch):
    monkeypatch.setattr(local_server, "FIRST_PAUSE_S", 0.01)
    started = start(monkeypatch, ENDS_SOON)
    with anyio.fail_after(60), pytest.raises(ExceptionGroup) as caught:
        async with local_server.serve(["toy"]):
            await anyio.sleep_forever()
    assert "ended 5 times, last with exit code 0" in str(first_of(caught.value))
    assert len(started) == 5


async def test_a_server_that_does_not_start_is_named_with_its_last_words(monkeypatch):
    start(monkeypatch, "import sys; sys.exit('no such weights')")
    with pytest.raises(ExceptionGroup) as caught:
        async with local_server.serve(["toy"]):
            pass
    error = first_of(caught.value)
    assert isinstance(error, LLMError)
    assert "toy did not start (exit code 1, its last words: no such weights)" in str(error)
