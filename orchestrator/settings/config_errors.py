"""Hydra's and OmegaConf's errors as sentences of our own, with near names."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import YAMLError

from dln_core.errors import ConfigError
from orchestrator.settings.schema import RunConfig

_MAX_LISTED = 12
# OmegaConf's own words for a value of the wrong type.
_REFUSED_VALUE = re.compile(
    r"Value '(?P<value>.*)' (of type '\w+' could not be converted to|is not a valid) (?P<kind>\w+)"
)
# What OmegaConf says of a key below a list that is none of its positions.
_NO_POSITION = re.compile(
    r"Index '(.+)' \(str\) is not an int|invalid literal for int\(\) with base 10: '(.+)'"
)
_REFUSED_LIST = re.compile(r"Cannot convert 'list' to string: '(?P<value>\[.*\])'")
_KINDS = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "bool": "true or false",
}


@contextmanager
def as_config_errors() -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise inside the block into a ``ConfigError``."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(describe(error)) from error


@contextmanager
def told_what_is_a_list(lines: Sequence[str]) -> Iterator[None]:
    """Explain the error that OmegaConf makes when what lies in a list is asked for by name."""
    try:
        yield
    except (TypeError, ValueError) as error:
        found = _NO_POSITION.fullmatch(str(error))
        name = found and (found[1] or found[2])
        for line in lines:
            key = line.partition("=")[0].lstrip("+")
            parts = key.split(".")
            if name in parts:
                above = ".".join(parts[: parts.index(name)])
                first = ".".join([above, "0", *parts[parts.index(name) + 1 :]])
                raise ConfigError(
                    f"{key} is no setting, since {above} is a list; write {first}=… for the first "
                    "in it"
                ) from error
        raise


def describe(error: Exception) -> str:
    """Say in one sentence what was wrong, what arrived and what to do."""
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read as a setting; write key=value, and quote values "
            "that hold spaces, commas or brackets, e.g. \"task.instruction='Answer, briefly.'\""
        )
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    cause = _omegaconf_cause(error)
    if cause is None:
        return _unknown_group(str(error))
    key = str(cause.full_key or "")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return unknown_key(key)
    if isinstance(cause, MissingMandatoryValue):
        return f"{key} is missing; give it, e.g. {key}=…"
    return _wrong_value(key, " ".join(str(cause.msg or cause).splitlines()[0].split()))


def unknown_key(key: str) -> str:
    """Say that there is no such setting, with the near ones."""
    near = _near(key, list(_keys_of(RunConfig(), "")))
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{key} is no setting{guess} (--help lists all)"


def unknown_option(group: str, name: str, options: Sequence[str]) -> str:
    """Say that a group has no such option, with the near ones or all if they are few."""
    sentence = f"{'+sweep' if group == 'sweep' else group}={name} is unknown"
    near = _near(name, options)
    if near:
        sentence += f"; did you mean {' or '.join(near)}?"
    elif len(options) <= _MAX_LISTED:
        sentence += f"; choose one of: {', '.join(options)}"
    return f"{sentence} (python -m dln_core.tasks list shows all)" if group == "task" else sentence


def several_options(group: str, options: Sequence[str]) -> str:
    """Say that one option of a group is taken, and how to run several."""
    listed = ",".join(options)
    return (
        f"{group}=[{listed}] is a list, but {group} takes one option; write -m {group}={listed} to "
        f"run each of them, or in a sweep file as text, {group}: {listed}"
    )


def _wrong_value(key: str, reason: str) -> str:
    if reason.startswith("Invalid type assigned"):
        return f"{key} holds several settings; set one of them, e.g. {key}.NAME=VALUE"
    if reason.endswith("is not Optional"):
        return f"{key}=null leaves {key} without a value; give it one"
    if "is not a ListConfig" in reason:
        return f"{key} must be a list; put brackets around its values, e.g. {key}=[…]"
    found = _REFUSED_VALUE.match(reason)
    if found:
        sentence = f"{key}={found['value']} must be {_KINDS[found['kind']]}"
        return sentence + _hint_of_axis(key, found["value"])
    listed = _REFUSED_LIST.match(reason)
    hint = _hint_of_axis(key, listed["value"]) if listed else ""
    return f"{key}: {reason}{hint}" if key else reason


def _hint_of_axis(key: str, value: str) -> str:
    """Tell how several values are swept over where a list was given for one."""
    if not value.startswith("["):
        return ""
    values = ",".join(part.strip(" '\"") for part in value.strip("[]").split(","))
    return (
        f"; several values are written -m {key}={values}, in a sweep file as text, {key}: {values}"
    )


def _omegaconf_cause(error: BaseException | None) -> OmegaConfBaseException | None:
    while error is not None:
        if isinstance(error, OmegaConfBaseException):
            return error
        error = error.__cause__ or error.__context__
    return None


def _unknown_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or ())
    if not group or not options:
        return f"{error.missing_cfg_file} was not found among the configuration files"
    return unknown_option(group, name, options)


def _unknown_group(message: str) -> str:
    if message.startswith("Could not override 'sweep'"):
        return "sweep=… needs a plus sign; write +sweep=NAME"
    return " ".join(message.split())


def _near(name: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def _keys_of(settings: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys_of(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
