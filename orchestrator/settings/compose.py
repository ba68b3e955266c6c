"""From the command line to typed configurations: Hydra composes, the schema checks.

Below this module there is no ``DictConfig``.  Hydra composes once per combination of config
groups, which costs a tenth of a second; axes of plain values are merged into that, and of those
only the part of the settings that they stand in is made anew.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig

from dln_core.errors import ConfigError
from dln_core.tasks import task_names
from orchestrator.search.sampling import first_settings
from orchestrator.search.space import Setting, Space, is_searched
from orchestrator.settings.composition import Composition, told_what_is_null, typed, without_hydra
from orchestrator.settings.config_errors import (
    as_config_errors,
    several_options,
    told_what_is_a_list,
    unknown_option,
)
from orchestrator.settings.config_sources import ConfigFolders, find_folders, use_folders
from orchestrator.settings.schema import RunConfig

HYDRA_VERSION_BASE = "1.3"
_FREE_KEY = re.compile(r"(((backward|judge)_)?llm\.extra|resources)[.=]")
_NO_OPTION = re.compile(r"(backward_llm|backward_limits|judge_llm)=null")


ChooseSettings = Callable[[RunConfig, Space], Sequence[Setting]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """The values of one key; ``by_value`` ones are merged without a new composition."""

    values: list[Override]
    by_value: bool


def opened(arguments: Sequence[str]) -> list[str]:
    """Let users write without Hydra's signs what Hydra would refuse.

    Any name is right below ``llm.extra`` and ``resources``, and groups that may be left out can be
    set to null.
    """
    return [_opened(text) for text in arguments]


def _opened(text: str) -> str:
    if _NO_OPTION.fullmatch(text):
        return f"~{text.partition('=')[0]}"
    return _with_free_key(text)


def _with_free_key(text: str) -> str:
    return f"++{text}" if _FREE_KEY.match(text) else text


class Composer:
    """Composes configurations from the shipped folders and those in the working directory.

    Args:
        folders: Where configuration is read; None looks beside the package and in the working
            directory.
    """

    def __init__(self, folders: ConfigFolders | None = None) -> None:
        self._folders = find_folders(Path.cwd()) if folders is None else folders

    @property
    def config_dir(self) -> Path:
        """The shipped ``conf`` folder."""
        return self._folders.conf[0]

    def compose(
        self,
        arguments: Sequence[str],
        *,
        multirun: bool = False,
        choose: ChooseSettings = first_settings,
    ) -> list[RunConfig]:
        """Compose every point of the sweep that the arguments describe, in the sweep's order.

        Args:
            arguments: Overrides in Hydra's grammar, e.g. ``seed=1,2``.
            multirun: Whether several values for a key are a sweep; so they are with a sweep file
                that says so or has axes, and with a search.
            choose: Says which settings of a search are run.

        Raises:
            ConfigError: If an override is malformed or unknown, or a value is refused.
        """
        with self._session():
            given = _parse(opened(arguments))
            fixed = [override for override in given if not override.is_sweep_override()]
            _check_options(fixed)
            head = _compose([str(override.input_line) for override in fixed])
            is_search = head.search.kind != "grid"
            params = head.hydra.sweeper.params or {}
            if multirun or is_search or params or head.hydra.mode == RunMode.MULTIRUN:
                lines = [f"{key}={value}" for key, value in params.items()]
                swept = _parse([_with_free_key(line) for line in lines])
                axes = _merge_axes(swept, given)
                if not is_search:
                    return list(self._points(fixed, axes))
                searched = [axis for axis in axes if _is_searched(axis)]
                settings = choose(typed(without_hydra(head)), Space.of(searched))
                axes = [axis for axis in axes if axis not in searched]
                return list(self._points(fixed, axes, settings))
            for override in given:
                _refuse_several_values(override)
            return [typed(without_hydra(head))]

    @contextmanager
    def _session(self) -> Iterator[None]:
        use_folders(self._folders)
        conf = str(self.config_dir)
        with (
            as_config_errors(),
            initialize_config_dir(conf, job_name="orchestrator", version_base=HYDRA_VERSION_BASE),
        ):
            yield

    def _points(
        self,
        fixed: list[Override],
        overrides: list[Override],
        settings: Sequence[Setting] = ({},),
    ) -> Iterator[RunConfig]:
        axes = [self._axis(override) for override in overrides if override not in fixed]
        lines = [str(override.input_line) for override in fixed]
        bases: dict[tuple[str, ...], Composition] = {}
        for setting in settings:
            own = _parse([f"{key}={value}" for key, value in setting.items()])
            all_axes = [*(self._axis(override) for override in own), *axes]
            for point in itertools.product(*(axis.values for axis in all_axes)):
                parts = list(zip(all_axes, point, strict=True))
                chosen = tuple(str(value.input_line) for axis, value in parts if not axis.by_value)
                if chosen not in bases:
                    bases[chosen] = Composition(_compose([*lines, *chosen]))
                yield bases[chosen].at([value for axis, value in parts if axis.by_value])

    def _axis(self, override: Override) -> _Axis:
        key = override.get_key_element()
        if override.is_hydra_override() or override.key_or_group == "sweep":
            raise ConfigError(f"{override.input_line} cannot be swept over; give one value")
        if not override.is_sweep_override():
            options = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            options = list(override.sweep_string_iterator())
        else:
            raise ConfigError(
                f"{override.input_line} is an interval; list its values, e.g. {key}=0.1,0.2, or "
                "choose search=random or search=optuna, which draw from it"
            )
        # A task of the catalogue is its name alone, which needs no composition.
        if key == "task" and set(options) <= set(task_names()):
            return _Axis(_parse([f"task.name={name}" for name in options]), by_value=True)
        values = _parse([f"{key}={option}" for option in options])
        _check_options(values)
        # Tables are merged key by key, so those of two points would mix.
        is_plain = override.type is OverrideType.CHANGE and not _is_group(override.key_or_group)
        has_tables = any(isinstance(value.value(), dict) for value in values)
        return _Axis(values, by_value=is_plain and not has_tables)


def _parse(lines: Sequence[str]) -> list[Override]:
    loader = GlobalHydra.instance().config_loader()
    return OverridesParser.create(config_loader=loader).parse_overrides(list(lines))


def _compose(lines: list[str]) -> DictConfig:
    with told_what_is_null(lines), told_what_is_a_list(lines):
        return compose("config", overrides=lines, return_hydra_config=True)


def _merge_axes(swept: list[Override], given: list[Override]) -> list[Override]:
    """Put the given overrides in the place of the sweep's own axes of the same keys."""
    merged: dict[tuple[str, str | None], Override] = {}
    for override in (*swept, *given):
        merged[override.key_or_group, override.package] = override
    return list(merged.values())


def _is_searched(override: Override) -> bool:
    return is_searched(override, is_group=_is_group(override.key_or_group))


def _is_group(key: str) -> bool:
    return bool(_options_of(key))


def _options_of(key: str) -> list[str]:
    return list(GlobalHydra.instance().config_loader().get_group_options(key))


def _check_options(overrides: Sequence[Override]) -> None:
    """Refuse numbers, nulls and lists as options.

    Hydra makes an error of its own program of the first two, and of a list it takes the last.
    """
    known: dict[str, list[str]] = {}
    for override in overrides:
        key, value = override.key_or_group, override.value()
        # Tables set keys of the group; what is deleted has no value.
        if override.is_delete() or isinstance(value, str | dict) or "." in key:
            continue
        if key not in known:
            known[key] = _options_of(key)
        if known[key] and isinstance(value, list):
            raise ConfigError(several_options(key, [str(option) for option in value]))
        if known[key]:
            told = override.get_value_element_as_str()
            raise ConfigError(unknown_option(key, told, known[key]))


def _refuse_several_values(override: Override) -> None:
    if override.is_sweep_override():
        raise ConfigError(
            f"{override.input_line} gives several values; add -m to run a sweep over them, "
            f"or quote the value if it is one text that holds a comma"
        )
