"""The local model's server: a child process on loopback for as long as a sweep runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp
import anyio
from anyio.abc import ByteReceiveStream, Process, TaskStatus
from anyio.streams.text import TextReceiveStream

from dln_core.config import LLMConfig, TrialSettings
from dln_core.errors import LLMError

HEALTH_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
TAIL_CHARS = 2000
# Deaths in a row; one after a long life counts as the first.
MAX_DEATHS = 5
LONG_LIFE_S = 600.0
# Memory that ran out may be free again soon; each further pause is twice as long.
FIRST_PAUSE_S = 0.5

_ERROR_LINE = re.compile(r"^error: .*\n?", re.MULTILINE)
_SERVING = re.compile(r"serving .+ at (http://\S+/v1)")

# The kernel ends the server with its parent, even when the parent is killed outright.
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def served_models(settings: Iterable[TrialSettings]) -> list[str]:
    """Return the local models that need a server, each once."""
    llms = (llm for each in settings for llm in each.models)
    return list(dict.fromkeys(llm.model for llm in llms if _needs_server(llm)))


def with_addresses(settings: TrialSettings, addresses: dict[str, str]) -> TrialSettings:
    """Return settings that name the servers of their local models."""
    backward, judge = settings.backward_llm, settings.judge_llm
    return replace(
        settings,
        llm=_addressed(settings.llm, addresses),
        backward_llm=None if backward is None else _addressed(backward, addresses),
        judge_llm=None if judge is None else _addressed(judge, addresses),
    )


def _needs_server(llm: LLMConfig) -> bool:
    return llm.provider == "local" and llm.base_url is None


def _addressed(llm: LLMConfig, addresses: dict[str, str]) -> LLMConfig:
    return replace(llm, base_url=addresses[llm.model]) if _needs_server(llm) else llm


@asynccontextmanager
async def serve(models: list[str]) -> AsyncIterator[dict[str, str]]:
    """Serve local models and yield their addresses by model; stop the servers at the end.

    What a server says while it gets ready (the first download takes minutes) goes to the terminal.
    One that ends on its own is started again at its address, where requests that failed with it
    are tried again.

    Raises:
        LLMError: If a server does not come up, or ends time and again.
    """
    addresses: dict[str, str] = {}
    async with anyio.create_task_group() as tasks:
        for model in models:
            addresses[model] = await tasks.start(_keep_up, model)
        yield addresses
        tasks.cancel_scope.cancel()


async def _keep_up(model: str, *, task_status: TaskStatus[str]) -> None:
    """Serve a model until cancelled; the status is its address, once it answers first."""
    port, num_deaths = 0, 0
    while True:
        server, started_at = _Server(model, await _start(model, port)), anyio.current_time()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.follow_errors)
                try:
                    address = await server.address()
                except LLMError:
                    if not port:
                        raise
                else:
                    tasks.start_soon(server.drain_output)
                    if not port:
                        task_status.started(address)
                        port = urlsplit(address).port or 0
                    await server.exit_code()
                # A helper of the server's may hold the pipes open.
                tasks.cancel_scope.cancel()
        finally:
            # By now nobody reads from the pipes that this closes.
            with anyio.CancelScope(shield=True):
                await server.stop()
        code = await server.exit_code()
        is_loop = anyio.current_time() < started_at + LONG_LIFE_S
        num_deaths = num_deaths + 1 if is_loop else 1
        if num_deaths == MAX_DEATHS:
            raise _died_too_often(model, code)
        _tell(f"the server of the local model {model} ended ({code}); it is started again\n")
        await anyio.sleep(FIRST_PAUSE_S * 2 ** (num_deaths - 1))


def _died_too_often(model: str, code: int) -> LLMError:
    return LLMError(
        f"the server of the local model {model} ended {MAX_DEATHS} times, last with exit code "
        f"{code} (-9 often means that memory ran out); take a smaller model or set "
        "cluster.max_trials lower, then run the same command again to go on"
    )


async def _start(model: str, port: int) -> Process:
    command = ["-m", "dln_core.llm.local", "serve", model, "--port", str(port)]
    if sys.platform == "linux":
        command = ["-c", _DIE_WITH_PARENT, *command]
    # A session of its own: Ctrl-C reaches the driver alone, which stops the server at the end.
    return await anyio.open_process(
        [sys.executable, *command], stdin=subprocess.DEVNULL, start_new_session=True
    )


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class _Server:
    """One running server."""

    def __init__(self, model: str, process: Process) -> None:
        self._model = model
        self._process = process
        self._tail: deque[str] = deque(maxlen=TAIL_CHARS)
        self._is_up = False
        self._said_all = anyio.Event()

    async def follow_errors(self) -> None:
        """Pass on what the server says until it is up, and remember the last of it."""
        async for text in TextReceiveStream(_stream(self._process.stderr), errors="replace"):
            self._tail.extend(text)
            if not self._is_up:
                # The last sentence is told once, by the error that it becomes.
                _tell(_ERROR_LINE.sub("", text))
        self._said_all.set()

    async def address(self) -> str:
        """Wait until the server answers and return its address with its ``/v1``."""
        said = ""
        async for text in TextReceiveStream(_stream(self._process.stdout), errors="replace"):
            said += text
            match = _SERVING.search(said)
            if match:
                await self._wait_for_health(match.group(1).removesuffix("/v1"))
                self._is_up = True
                return match.group(1)
        raise LLMError(await self._why_not(f"exit code {await self._process.wait()}"))

    async def drain_output(self) -> None:
        """Take what else the server writes, which would stop it once the pipe is full."""
        async for _ in _stream(self._process.stdout):
            pass

    async def exit_code(self) -> int:
        """Wait until the server ends, whyever."""
        return await self._process.wait()

    async def _wait_for_health(self, root: str) -> None:
        with anyio.move_on_after(HEALTH_TIMEOUT_S):
            async with aiohttp.ClientSession(trust_env=False) as session:
                while self._process.returncode is None:
                    with suppress(aiohttp.ClientError):  # not up yet
                        async with session.get(f"{root}/health") as response:
                            if response.status == 200:
                                return
                    await anyio.sleep(0.1)
        raise LLMError(await self._why_not(f"{root}/health did not answer"))

    async def _why_not(self, reason: str) -> str:
        if self._process.returncode is not None:
            await self._said_all.wait()
        lines = "".join(self._tail).strip().splitlines()
        if lines and _ERROR_LINE.match(lines[-1]):
            sentence = lines[-1].strip().removeprefix("error: ")
            return f"the server of the local model {self._model} did not start: {sentence}"
        last = f", its last words: {lines[-1].strip()}" if lines else ""
        return (
            f"the server of the local model {self._model} did not start ({reason}{last}); try "
            f"`python -m dln_core.llm.local pull {self._model}`, or choose another llm"
        )

    async def stop(self) -> None:
        """End the process, gently first."""
        if self._process.returncode is None:
            self._process.terminate()
            with anyio.move_on_after(STOP_TIMEOUT_S):
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()


def _stream(stream: ByteReceiveStream | None) -> ByteReceiveStream:
    if stream is None:
        raise LLMError("the local model's server was started without pipes; this is a bug")
    return stream
