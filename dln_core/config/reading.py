"""Settings from plain values, as the files in ``conf/`` hold them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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
    hints = _hints(kind)  # type: ignore[arg-type]
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


# It takes longer than all else, and the same few classes are read a thousand times.
@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, value: Any) -> Any:
    inner = get_args(hint)
    if isinstance(value, list) and inner:
        return [_read(inner[0], item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if get_origin(hint) is dict:
        return {name: _read(inner[1], item) for name, item in value.items()}
    # Of ``X | None``, X; of a class itself, that.
    kinds = [kind for kind in (*inner, hint) if isinstance(kind, type) and is_dataclass(kind)]
    return config_from(kinds[0], value) if kinds else value
