"""The command line of the simulated endpoint: ``python -m dln_core.llm.simulated serve``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import anyio

from dln_core.commands import exit_code
from dln_core.errors import ConfigError
from dln_core.llm.serving.listening import LOOPBACK, listen, port_number
from dln_core.llm.simulated.faults import KINDS
from dln_core.llm.simulated.server import ServerConfig, SimulatedServer
from dln_core.llm.simulated.worlds import InContextReader


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _serve(options))


def _serve(options: argparse.Namespace) -> None:
    server = SimulatedServer(InContextReader(), _config(options))
    anyio.run(_serve_until_signal, server, options.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dln_core.llm.simulated",
        description="Serve a toy model, with limits and faults to order.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve it on this machine over OpenAI's HTTP interface",
    )
    add = serve.add_argument
    add("--port", type=port_number, required=True, help="port; 0 takes a free one")
    add("--slots", type=_count, default=32, help="sequences that run at once (%(default)s)")
    add("--latency", type=_seconds, default=0.04, help="seconds to a first token (%(default)s)")
    add("--seconds-per-token", type=_seconds, default=0.01, help="of each token (%(default)s)")
    add("--requests-per-minute", type=_count, help="beyond it 429 is answered (no limit)")
    add("--tokens-per-minute", type=_count, help="beyond it 429 is answered (no limit)")
    add("--fault-share", type=_fraction, default=0.0, help="part of the requests that fail (0)")
    add("--faults", type=_kinds, default=(), help=f"how they fail (all: {','.join(KINDS)})")
    add("--seed", type=int, default=0, help="decides which requests fail (%(default)s)")
    add("--api-key-env", metavar="VAR", help="variable with the key to ask for (none)")
    return parser


def _config(options: argparse.Namespace) -> ServerConfig:
    variable = options.api_key_env
    key = os.environ.get(variable, "").strip() if variable else None
    if key == "":
        raise ConfigError(f"the environment variable {variable} is empty; put the key into it")
    return ServerConfig(
        slots=options.slots,
        latency_s=options.latency,
        seconds_per_token=options.seconds_per_token,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        fault_share=options.fault_share,
        fault_kinds=options.faults,
        seed=options.seed,
        api_key=key,
    )


async def _serve_until_signal(server: SimulatedServer, port: int) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with listen(server.build_app(), LOOPBACK, port) as address:
            print(f"serving simulated at {address}", flush=True)
            async for _ in signals:
                break


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 3600:
        raise argparse.ArgumentTypeError(f"{text} must be from 0 to 3600")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be from 0 to 1")
    return value


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
