"""Imports of the packages that only ``dln[local]`` installs."""

from __future__ import annotations

import importlib
from typing import Any

from dln_core.errors import ConfigError


def local_extra(module: str) -> Any:
    """Import and return a module of the ``local`` extra; it is heavy, so never at start.

    Raises:
        ConfigError: If the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the local model needs the package {error.name}, which is not installed; "
            "run: pip install 'dln[local]'"
        ) from error
