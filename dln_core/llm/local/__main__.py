"""The command line of the local models: ``python -m dln_core.llm.local pull|serve|list``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

import anyio

from dln_core.commands import exit_code
from dln_core.llm.local.catalog import CATALOG, find_model
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.server import open_server
from dln_core.llm.local.weights import is_pulled, pull
from dln_core.llm.serving.listening import port_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> None:
    if options.command == "pull":
        print(f"{options.name} is ready in {pull(options.name)}")
    elif options.command == "serve":
        _serve(options)
    else:
        _list()


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dln_core.llm.local",
        description="Pull and serve the language models that come with the install.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show the models and whether they are there")
    fetch = commands.add_parser("pull", help="download, check and convert a model")
    fetch.add_argument("name", help="a model, as shown by list")
    serve = commands.add_parser("serve", help="serve a model over OpenAI's HTTP interface")
    serve.add_argument("name", help="a model, as shown by list")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=port_number, required=True, help="port; 0 takes a free one")
    serve.add_argument("--threads", type=_positive, help="threads of the model (default: 2)")
    serve.add_argument(
        "--exact",
        action="store_true",
        help="full precision: equal requests get equal answers whatever else is asked; slower",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _list() -> None:
    """Print a line for every model."""
    for name, entry in CATALOG.items():
        state = "ready" if is_pulled(name) else "not pulled"
        size = f"{entry.num_bytes / 1e6:.0f} MB"
        print(f"{name:20} {size:>8}  {state:10}  {entry.license}  {entry.upstream}")


def _serve(options: argparse.Namespace) -> None:
    """Load a model and serve it until the process is told to end."""
    name = find_model(options.name).name
    engine = LocalEngine(pull(name), options.threads, exact=options.exact)
    anyio.run(_serve_until_signal, engine, name, options.host, options.port)


async def _serve_until_signal(engine: LocalEngine, name: str, host: str, port: int) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_server(engine, name, host, port) as address:
            print(f"serving {name} at {address}", flush=True)
            async for _ in signals:
                break


if __name__ == "__main__":
    sys.exit(main())
