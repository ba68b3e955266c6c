"""The data files that tasks read: where they come from, where they lie, whether they are intact."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import platformdirs

from dln_core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One pinned data file.

    Attributes:
        path: Place below the data folder, with forward slashes.
        url: Address of the pinned version.
        sha256: Digest (hex) of its bytes.
        bytes: Its length.
        licence: Licence that its repository states.
        origin: Repository and commit.
    """

    path: str
    url: str
    sha256: str
    bytes: int
    licence: str
    origin: str


@cache
def sources() -> dict[str, Source]:
    """Return every pinned file by its path."""
    text = resources.files("dln_core.tasks").joinpath("sources.json").read_text("utf-8")
    return {entry["path"]: Source(**entry) for entry in json.loads(text)["files"]}


def data_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return the folder that holds the data: as given, else DLN_DATA_DIR, else the user's cache."""
    chosen = folder or os.environ.get("DLN_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("dln")) / "data"


def is_intact(source: Source, content: bytes) -> bool:
    """Tell whether the bytes are those that were pinned."""
    return hashlib.sha256(content).hexdigest() == source.sha256


@dataclass(frozen=True, slots=True)
class DataReader:
    """Reads pinned files for one task.

    Attributes:
        folder: The data folder.
        task: Name of the task, for error messages.
    """

    folder: Path
    task: str

    def read(self, path: str) -> bytes:
        """Return the bytes of a pinned file.

        Raises:
            DataError: If the file is missing, unreadable or not the pinned version.
        """
        source = sources()[path]
        place = self.folder / path
        try:
            content = place.read_bytes()
        except FileNotFoundError:
            raise DataError(
                f"task {self.task} needs {path}, which is not in {self.folder}; name a folder that "
                f"has it (data.dir=FOLDER or DLN_DATA_DIR) or download it: "
                f"python -m dln_core.tasks fetch {self.task}"
            ) from None
        except OSError as error:
            raise DataError(f"{place} cannot be read ({error.strerror}); check the file") from error
        if not is_intact(source, content):
            arrived = hashlib.sha256(content).hexdigest()
            raise DataError(
                f"{place} is not the pinned file: expected {source.bytes} bytes with SHA-256 "
                f"{source.sha256[:12]}…, found {len(content)} bytes with {arrived[:12]}…; delete "
                f"it and run: python -m dln_core.tasks fetch {self.task}"
            )
        return content


def licence_of(paths: Iterable[str]) -> str:
    """Return the licences of some pinned files, each once."""
    return ", ".join(sorted({sources()[path].licence for path in paths}))


def origin_of(paths: Iterable[str]) -> str:
    """Return the repositories and commits of some pinned files, each once."""
    return ", ".join(sorted({sources()[path].origin for path in paths}))
