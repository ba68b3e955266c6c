"""The items of BBH, to hold the solvers of the generated tasks against their gold answers."""

from __future__ import annotations

import json
from pathlib import Path

SMALLEST_AGREEMENT = 0.99


def bbh_items(data_dir: Path, name: str) -> list[tuple[str, str]]:
    """Return input and gold answer of each item of a task."""
    file = data_dir / "big-bench-hard" / "bbh" / f"{name}.json"
    return [(item["input"], item["target"]) for item in json.loads(file.read_text())["examples"]]


def options_of(text: str) -> dict[str, str]:
    """Return the options that a text prints, by their letters: ``{"(A)": ...}``."""
    lines = text.partition("\nOptions:\n")[2].splitlines()
    return {line[:3]: line[4:] for line in lines}


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text without their full stops."""
    return [sentence for sentence in text.rstrip(".").split(". ") if sentence]
