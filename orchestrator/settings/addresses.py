"""Addresses of tracking stores."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store, relative to the working folder; None for other stores."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def without_password(uri: str) -> str:
    """Return an address without the user and password that it may hold."""
    if not has_port_or_none(uri):
        return uri.rpartition("@")[2]  # a password may be what was taken for the port
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def has_port_or_none(uri: str) -> bool:
    """Whether the port of an address, if it has one, is a number up to 65535."""
    try:
        port = urlsplit(uri).port
    except ValueError:
        return False
    return port is None or port > 0
