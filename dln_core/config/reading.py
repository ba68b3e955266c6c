"""Settings from plain values, as the files in ``conf/`` hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from dln_core.errors import ConfigError

Config = TypeVar("Config")


def config_from(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Make a settings object, and those within it, of a mapping.

    Args:
        kind: The class of the settings, e.g. ``NetworkConfig``.
        values: What ``yaml.safe_load`` returns for a file of that kind.

    Raises:
        ConfigError: If a key is unknown or a value is refused.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{name!r} is no setting of {kind.__name__}; choose from: {', '.join(names)}"
            )
    try:
        return kind(**{name: _read(hints[name], value) for name, value in values.items()})
    except TypeError as error:
        raise ConfigError(
            f"a value of {kind.__name__} has the wrong type ({error}); correct it"
        ) from error


def _read(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(hint, type) and is_dataclass(hint):
        return config_from(hint, value)
    if isinstance(value, list) and (inner := get_args(hint)):
        return [_read(inner[0], item) for item in value]
    return value
