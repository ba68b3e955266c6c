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
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
