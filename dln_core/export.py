"""Writing and loading learned networks as ``network.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dln_core.errors import ConfigError
from dln_core.network import Network

FORMAT = "dln-network"
FORMAT_VERSION = 2


def network_document(network: Network, model: str) -> dict[str, Any]:
    """Everything that is needed to use a network again: layers, prompts, templates, model."""
    return {"format": FORMAT, "version": FORMAT_VERSION, "model": model} | network.to_dict()


def load_network(path: str | Path) -> Network:
    """Load a network that a trial exported.

    Raises:
        ConfigError: If the file is missing or is no exported network.
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
    try:
        return Network.from_dict(values)
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} lacks a part of a network ({error}); export the network again"
        ) from error
