"""Readable names: which settings tell the trials of a sweep apart."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from dln_core.config import TrialSettings

Value = str | int | float

_MAX_NAME_CHARS = 80
_ROW_NAMES = ("task.name", "network.name")
# Settings that name a whole group: what else differs along with them needs no column.
_GROUP_NAMES = ("trainer.preset", "llm.model", "backward_llm.model")
# Lists whose items mean nothing by themselves: one value, written as the command line takes it.
_WHOLE_LISTS = ("trainer.phases",)


def varying_settings(points: Sequence[TrialSettings]) -> list[dict[str, Value]]:
    """Find the settings that differ over a sweep beside task, network and seed.

    What differs only because another network, preset or model was chosen is told by their names.

    Args:
        points: The settings of the trials.

    Returns:
        A table of the same keys for every trial; null and truth values as the words of YAML.
    """
    flat = [dict(_leaves(dataclasses.asdict(point), "")) for point in points]
    groups = [tuple(row.get(key) for key in (*_ROW_NAMES, *_GROUP_NAMES)) for row in flat]
    keys = [key for key in _GROUP_NAMES if len({row.get(key, "null") for row in flat}) > 1]
    seen: dict[tuple[Any, str], Value] = {}
    for group, row in zip(groups, flat, strict=True):
        for key, value in row.items():
            if seen.setdefault((group, key), value) != value and key != "seed" and key not in keys:
                keys.append(key)
    return [{key: row.get(key, "null") for key in keys} for row in flat]


def _leaves(value: Any, path: str) -> list[tuple[str, Value]]:
    if isinstance(value, dict) and value:
        items = [(str(key), item) for key, item in value.items()]
    elif path in _WHOLE_LISTS:
        return [(path, orjson.dumps(value).decode().replace('"', ""))]
    elif isinstance(value, list) and value:
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        # Truth values and null are written as in YAML, which is what the command line takes.
        is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        return [(path, value if is_plain else orjson.dumps(value).decode())]
    prefix = f"{path}." if path else ""
    return [leaf for key, item in items for leaf in _leaves(item, f"{prefix}{key}")]


def name_trial(settings: TrialSettings, varying: dict[str, Value]) -> str:
    """Name a trial by its task, network, seed and what else differs: ``navigate dln2 13``."""
    extra = [f"{key.rpartition('.')[2]}={value}" for key, value in varying.items()]
    return " ".join([settings.task.name, settings.network.name, str(settings.seed), *extra])


def name_sweep(points: Sequence[TrialSettings]) -> str:
    """Name a sweep that has no file by its tasks and networks; the same ones, the same folder."""
    tasks = "+".join(dict.fromkeys(point.task.name for point in points))
    networks = "+".join(dict.fromkeys(point.network.name for point in points))
    name = f"{tasks}-{networks}"
    if len(name) <= _MAX_NAME_CHARS:
        return name
    return f"adhoc-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
