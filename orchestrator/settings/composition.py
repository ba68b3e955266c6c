"""One composition of Hydra's, and the typed configurations that are made of it."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from dln_core.errors import ConfigError
from orchestrator.settings.config_errors import told_what_is_a_list, unknown_key
from orchestrator.settings.schema import RunConfig

# Values that come from the environment do not depend on other settings.
_REFERENCE = re.compile(r"\$\{(?!oc\.env:)")


class Composition:
    """One composition, and the points of the sweep that differ from it in plain values alone.

    Args:
        config: The composition; it is changed.
    """

    def __init__(self, config: DictConfig) -> None:
        self._config = without_hydra(config)
        # Then a value may change what another setting is.
        self._has_references = _REFERENCE.search(OmegaConf.to_yaml(self._config)) is not None
        self._first: RunConfig | None = None
        self._sections: dict[tuple[str, ...], Any] = {}

    def at(self, values: Sequence[Override]) -> RunConfig:
        """Return the configuration of a point; every point gives values to the same keys."""
        by_section: dict[str, list[str]] = {}
        for value in values:
            line = str(value.input_line)
            with told_what_is_null([line]), told_what_is_a_list([line]):
                OmegaConf.update(self._config, value.key_or_group, value.value())
            section = value.key_or_group.partition(".")[0]
            by_section.setdefault(section, [section]).append(line)
            self._has_references |= _REFERENCE.search(line) is not None
        if self._first is None or self._has_references:
            self._first = typed(self._config)
            return self._first
        changes = {name: self._section(name, tuple(key)) for name, key in by_section.items()}
        # No point may see what is done to another one.
        return copy.deepcopy(dataclasses.replace(self._first, **changes))

    def _section(self, name: str, key: tuple[str, ...]) -> Any:
        """Make typed settings of one key at the root, once for the same values below it."""
        if key not in self._sections:
            self._sections[key] = _objects(self._config[name])
        return self._sections[key]


@contextmanager
def told_what_is_null(lines: Sequence[str]) -> Iterator[None]:
    """Explain the assertion that OmegaConf makes when a key lies below a group that is null."""
    try:
        yield
    except AssertionError as error:
        examples = {
            "backward_llm": "openai",
            "backward_limits": "default",
            "judge_llm": "openai",
        }
        for line in lines:
            group = line.partition(".")[0]
            if group in examples:
                raise ConfigError(
                    f"{line} changes {group}, which is not set; choose one first, "
                    f"e.g. {group}={examples[group]}"
                ) from error
        raise


def typed(config: DictConfig) -> RunConfig:
    """Make the typed configuration, in which every value is checked.

    Raises:
        ConfigError: If a value is refused.
    """
    made = _objects(config)
    if not isinstance(made, RunConfig):
        raise TypeError(f"the configuration became a {type(made).__name__}, not a RunConfig")
    return made


def without_hydra(config: DictConfig) -> DictConfig:
    """Take the settings of Hydra itself out of a composition, and return it."""
    with open_dict(config):
        config.pop("hydra", None)
    return config


def _objects(value: Any) -> Any:
    """Make dataclasses and plain values of a part of a configuration."""
    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_object(value)
    except AttributeError as error:
        # What `+key=value` added is found to have no place only when the dataclasses are made.
        raise ConfigError(unknown_key(str(error).split("'")[-2])) from error
