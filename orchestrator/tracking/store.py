"""The tracking store: looked at before MLflow does, whose own attempts are long and noisy."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dln_core.errors import TrackingError
from orchestrator.settings.addresses import has_port_or_none, sqlite_path, without_password
from orchestrator.settings.schema import TrackingConfig

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

# MLflow takes 1,000 values a call, parameters and tags among them.
MAX_METRICS = 800
# What decides itself where files go.
SERVERS = ("http://", "https://", "databricks")
CONNECT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that is sent again on the quiet may create what it creates twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True, slots=True)
class Store:
    """An open tracking store and the experiment in it.

    Attributes:
        uri: Its address, without a password.
        client: Speaks to it; blocks.
        experiment_id: The experiment.
    """

    uri: str
    client: MlflowClient
    experiment_id: str

    @classmethod
    def open(cls, config: TrackingConfig) -> Store:
        """Connect to a store; its tables and the experiment are made where there are none.

        Raises:
            TrackingError: If the store is locked, foreign or out of reach.
        """
        check_store(config.uri)
        os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        path, uri = sqlite_path(config.uri), without_password(config.uri)
        with _errors(uri):
            client = MlflowClient(config.uri if path is None else f"sqlite:///{path}")
            return cls(uri, client, _experiment_id(client, config))

    def log(
        self, run_id: str, metrics: list[Metric], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Write to a run in as few calls as MLflow allows; the tags go with the last of them."""
        from mlflow.entities import Param, RunTag

        parameters = [Param(name, value) for name, value in params.items()]
        marks = [RunTag(name, value) for name, value in tags.items()]
        first, rest = metrics[:MAX_METRICS], metrics[MAX_METRICS:]
        while rest:
            self.client.log_batch(run_id, first, parameters)
            first, rest, parameters = rest[:MAX_METRICS], rest[MAX_METRICS:], []
        self.client.log_batch(run_id, first, parameters, marks)

    def log_files(self, run_id: str, texts: Mapping[str, str]) -> None:
        """Attach texts to a run, by path; they replace what is there."""
        with TemporaryDirectory() as folder:
            for name, text in texts.items():
                path = Path(folder) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            self.client.log_artifacts(run_id, folder)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what MLflow and its database raise into a ``TrackingError`` of one sentence."""
        with _errors(self.uri):
            yield


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrackingError(
            f"tracking.uri={uri} cannot be used ({reason}); complete the record later with "
            "action=sync, or give another tracking.uri"
        ) from error


def _experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        # With this kind the UI opens on the table of runs and their charts, not on traces.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(config.experiment, _artifact_folder(config), tags))
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {config.experiment} was deleted; restore it with `mlflow "
            "experiments restore`, or give another tracking.experiment"
        )
    return str(experiment.experiment_id)


def _artifact_folder(config: TrackingConfig) -> str | None:
    """Where files go: beside a SQLite file, so that both are moved together; a server decides."""
    if config.uri.startswith(SERVERS):
        return None
    path = sqlite_path(config.uri)
    parent = Path.cwd() if path is None else path.parent
    return str(parent / "mlartifacts" / config.experiment)


def check_store(uri: str) -> None:
    """Make sure that a store can be used; a SQLite file is switched to write-ahead logging.

    Raises:
        TrackingError: If it is locked, not MLflow's, out of reach, or needs a driver that is not
            installed.
    """
    path = sqlite_path(uri)
    if path is None:
        _check_reachable(uri)
        if not uri.startswith(SERVERS):
            _check_database(uri)
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


def _check_database(uri: str) -> None:
    """Connect once: MLflow tries for minutes, also where trying again is of no use."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        engine = create_engine(uri)
    except (ImportError, ArgumentError) as error:
        raise TrackingError(
            f"tracking.uri={without_password(uri)} needs a database driver ({error}); for "
            "PostgreSQL install dln[postgresql] and write postgresql+pg8000://HOST/DATABASE"
        ) from error
    try:
        with engine.connect():
            pass
    except SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]
        raise TrackingError(
            f"tracking.uri={without_password(uri)} cannot be used ({reason}); create the database, "
            "or give its name, user and password as the server knows them"
        ) from error
    finally:
        engine.dispose()


def _check_reachable(uri: str) -> None:
    if not has_port_or_none(uri):  # databricks://SCOPE:PREFIX, which names no host
        return
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
