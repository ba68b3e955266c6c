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


def _wrong_value(key: str, reason: str) -> str:
    if reason.startswith("Invalid type assigned"):
        return f"{key} holds several settings; set one of them, e.g. {key}.NAME=VALUE"
    if reason.endswith("is not Optional"):
        return f"{key}=null leaves {key} without a value; give it one"
    if "is not a ListConfig" in reason:
        return f"{key} must be a list; put brackets around its values, e.g. {key}=[…]"
    found = _REFUSED_VALUE.match(reason)
    if found:
        return f"{key}={found['value']} must be {_KINDS[found['kind']]}"
    return f"{key}: {reason}" if key else reason


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
