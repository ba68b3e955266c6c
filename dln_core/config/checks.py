"""How a setting is refused."""

from __future__ import annotations

from dln_core.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise ``ConfigError(message)`` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` unless the value of the key is one of the choices."""
    require(value in choices, f"{key}={value} is unknown; choose one of: {', '.join(choices)}")


def require_positive(key: str, value: float | None) -> None:
    """Raise ``ConfigError`` if the value is given and not above zero."""
    if value is not None and value <= 0:
        raise ConfigError(f"{key}={value} must be above zero; null means no limit")
