"""Writing and loading learned networks as ``network.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dln_core.errors import ConfigError
from dln_core.layers import ToolLayer
from dln_core.network import Network

FORMAT = "dln-network"
FORMAT_VERSION = 2


def network_document(network: Network, model: str) -> dict[str, Any]:
    """Everything that is needed to use a network again: layers, prompts, templates, model."""
    return {"format": FORMAT, "version": FORMAT_VERSION, "model": model} | network.to_dict()


def document_text(document: dict[str, Any]) -> str:
    """Return a document as the text of a file."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def load_network(path: str | Path, tools: Sequence[str] = ()) -> Network:
    """Load a network that a trial exported.

    Args:
        path: A ``network.json``.
        tools: Functions ``module:function`` that the network may call; a file alone must not
            decide what is imported and run.

    Raises:
        ConfigError: If the file is missing, is no exported network or calls other functions.
    """
    network = network_from(read_document(path), path)
    _check_tools(network, path, tools)
    return network


def read_document(path: str | Path) -> dict[str, Any]:
    """Read the document of an exported network.

    Raises:
        ConfigError: If the file is missing, is no exported network or has another format version.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"no network can be read from {path} ({error}); give the network.json of a trial"
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ConfigError(f"{path} is not an exported network; give the network.json of a trial")
    if values.get("version") != FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format version {values.get('version')}, this program reads "
            f"{FORMAT_VERSION}; export the network again with this version"
        )
    return values


def network_from(document: dict[str, Any], path: str | Path) -> Network:
    """Make the network that a document describes; no function that it names is imported.

    Args:
        document: What ``read_document`` returned.
        path: Where it comes from, for messages.

    Raises:
        ConfigError: If a part is missing or is none of a network.
    """
    try:
        network = Network.from_dict(document)
        has_answer = bool(network.graph.answers)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"{path} lacks a part of a network ({error}); export the network again"
        ) from error
    if not has_answer:
        raise ConfigError(f"{path} has no layer that answers; export the network again")
    return network


def _check_tools(network: Network, path: str | Path, allowed: Sequence[str]) -> None:
    layers = [layer for layer in network.layers if isinstance(layer, ToolLayer)]
    for tool in (tool for layer in layers for tool in layer.tools):
        if ":" in tool and tool not in allowed:
            raise ConfigError(
                f"{path} calls the function {tool}, which would be imported and run; if you trust "
                "it, name it: load_network(path, tools=[...]), or in the layers of the network "
                "that you configure"
            )
