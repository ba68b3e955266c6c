"""``python -m dln_core.export``: verify an exported network, or write it in another form."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from dln_core.commands import exit_code
from dln_core.config import CacheConfig, LLMConfig
from dln_core.config.endpoint import PROVIDERS
from dln_core.errors import ConfigError
from dln_core.export.document import network_from, read_document
from dln_core.export.dspy_file import dspy_source
from dln_core.export.template import chat_requests, messages_template

FORMS = {
    "messages": "the conversations, with placeholders",
    "openai": "the bodies of OpenAI-style chat requests",
    "dspy": "a Python file with a DSPy module",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> None:
    if options.command == "verify":
        print(_verified(options))
    else:
        _write(_exported(options), options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dln_core.export",
        description="Verify an exported network, or write it in another form.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    path = argparse.ArgumentParser(add_help=False)
    path.add_argument("path", type=Path, metavar="PATH", help="OUT_DIR/trials/ID or network.json")
    for form, what in FORMS.items():
        command = commands.add_parser(form, parents=[path], help=f"write {what}")
        command.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print it")
        if form != "dspy":
            command.add_argument("--input", metavar="TEXT", help="fill in this input")
        if form == "openai":
            command.add_argument("--layer", metavar="NAME", help="the body of this layer alone")
    verify = commands.add_parser(
        "verify", parents=[path], help="measure a network on dev and compare with the record"
    )
    _add_access(verify)
    lone = verify.add_argument_group("a network.json that lies outside of its trial's folder")
    lone.add_argument("--task", metavar="NAME", help="the task whose dev split counts")
    lone.add_argument("--provider", choices=PROVIDERS, default="openai_compatible")
    lone.add_argument("--model", metavar="NAME", help="default: the model of the file")
    lone.add_argument("--dev-accuracy", type=float, metavar="SHARE", help="what it has to get")
    return parser


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache-dir", metavar="FOLDER", help="cache.dir of the run")
    parser.add_argument("--data-dir", metavar="FOLDER", help="data folder (default: as recorded)")
    parser.add_argument("--base-url", metavar="URL", help="endpoint, if an answer is not stored")


def _network_path(path: Path) -> Path:
    return path / "network.json" if path.is_dir() else path


def _exported(options: argparse.Namespace) -> str:
    """The network in the form that was asked for."""
    path = _network_path(options.path)
    document = read_document(path)
    network, model = network_from(document, path), str(document["model"])
    if network.label_bias:
        labels = ", ".join(network.label_bias)
        print(
            f"note: {path} was calibrated on the labels {labels}; conversations cannot express "
            "that, so answers that are written may differ from the network's",
            file=sys.stderr,
        )
    if options.command == "dspy":
        return dspy_source(network, model)
    template = messages_template(network, model, options.input)
    if options.command == "messages":
        return _as_text(template)
    requests = chat_requests(template)
    if options.layer is None:
        return _as_text(requests)
    for request in requests:
        if options.layer in (request["text"], request["layer"]):
            return _as_text(request["body"])
    names = ", ".join(request["text"] for request in requests)
    raise ConfigError(f"--layer {options.layer} is no layer of {path}; choose one of: {names}")


def _as_text(values: object) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); give a file in a folder that exists"
        ) from error


def _verified(options: argparse.Namespace) -> str:
    """Verify a network, and say in a sentence what was found."""
    # Models, numerics and HTTP, which the other commands do without.
    from dln_core.export.verify import Access, verify_alone, verify_trial

    path: Path = options.path
    if not path.exists():
        raise ConfigError(
            f"{path} does not exist; give the folder of a trial, OUT_DIR/trials/ID, or a "
            "network.json"
        )
    access = Access(
        cache=CacheConfig(dir=options.cache_dir),
        base_url=options.base_url,
        data_dir=options.data_dir,
    )
    folder = path if path.is_dir() else path.parent
    is_recorded = path.is_dir() or (path.name == "network.json" and _is_trial(folder))
    if is_recorded and options.task is None:
        return anyio.run(verify_trial, folder, access)
    if options.task is None:
        raise ConfigError(
            f"{path} lies outside of its trial's folder, so what it got is not known; give --task "
            "NAME, --base-url and --dev-accuracy, or the folder OUT_DIR/trials/ID"
        )
    path = _network_path(path)
    llm = _endpoint(options, read_document(path))
    return anyio.run(verify_alone, path, options.task, llm, options.dev_accuracy, access)


def _endpoint(options: argparse.Namespace, document: dict[str, Any]) -> LLMConfig:
    if options.base_url is None and options.provider != "simulated":
        raise ConfigError(
            "the address of the endpoint is missing; give it with its /v1, e.g. "
            "--base-url http://localhost:8000/v1"
        )
    return LLMConfig(
        provider=options.provider,
        model=options.model or document["model"],
        base_url=options.base_url,
    )


def _is_trial(folder: Path) -> bool:
    return (folder / "config.yaml").exists()


if __name__ == "__main__":
    sys.exit(main())
