"""Serving an application while a context is open."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from dln_core.errors import ConfigError

LOOPBACK = "127.0.0.1"
# Time for open requests once the context ends; nobody answers them any more.
SHUTDOWN_S = 1.0


@asynccontextmanager
async def listen(
    app: web.Application,
    host: str = LOOPBACK,
    port: int = 0,
    *,
    shutdown_s: float = SHUTDOWN_S,
) -> AsyncIterator[str]:
    """Serve an application while the context is open.

    Args:
        app: What answers.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        shutdown_s: Time that open requests have when the context ends, in seconds.

    Yields:
        The address with its ``/v1``.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    # A client that goes away cancels its handler: its request is dropped, as real servers do.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_s
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror}); "
                "choose another port, or --port 0 for a free one"
            ) from error
        yield f"http://{host}:{runner.addresses[0][1]}/v1"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def port_number(text: str) -> int:
    """Read a port from the command line.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} must be from 0 to 65535")
    return value
