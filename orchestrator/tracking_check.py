"""Looks at a tracking store before MLflow does, whose own attempts are long and noisy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

from dln_core.errors import TrackingError

CONNECT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store, relative to the working folder; None for other stores."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def check_store(uri: str) -> None:
    """Make sure that a store can be used; a SQLite file is switched to write-ahead logging.

    Raises:
        TrackingError: If it is locked, not MLflow's, or out of reach.
    """
    path = sqlite_path(uri)
    if path is None:
        _check_reachable(uri)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if tables and not {"alembic_version", "experiments", "runs"} <= tables:
                raise TrackingError(
                    f"tracking.uri={uri} is a database of another program (it has the table "
                    f"{min(tables)}); give the address of an MLflow database or of a new file"
                )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(_sqlite_sentence(uri, error)) from error


def _sqlite_sentence(uri: str, error: Exception) -> str:
    reason = str(error)
    if "locked" in reason:
        return f"tracking.uri={uri} is locked by another program; close it, or give another one"
    if "not a database" in reason:
        return (
            f"tracking.uri={uri} is a file but no database; give an MLflow database or a new file"
        )
    return f"tracking.uri={uri} cannot be used ({reason}); check the file's rights or give another"


def _check_reachable(uri: str) -> None:
    parts = urlsplit(uri)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is None or port is None:
        return
    try:
        create_connection((parts.hostname, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise TrackingError(
            f"tracking.uri={without_password(uri)} cannot be reached ({error}); start the server, "
            "or give another one, e.g. tracking.uri=sqlite:///mlflow.db"
        ) from error


def without_password(uri: str) -> str:
    """Return an address without the user and password that it may hold."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
