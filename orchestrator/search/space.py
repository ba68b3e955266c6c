"""What a search varies: the keys of a sweep that have several plain values, in Hydra's grammar.

``trainer.num_hidden=2,3,5`` and ``choice(…)`` are choices, ``range(…)`` steps of numbers,
``interval(0.1,1.0)`` any number between; ``int(interval(1,9))`` any whole one.  ``tag(log,…)``
around an interval, or a range of whole numbers, draws on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from dln_core.config import require
from dln_core.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# The values of searched keys, as the command line takes them.
Setting = dict[str, str]

# Digits that a drawn number keeps, so that it can be read and typed: of the number or of its
# interval's width, whichever is finer.
_NUM_DIGITS = 4
# What a setting is judged on, and where it runs: every setting meets all of it.
_NEVER_SEARCHED = ("task", "data", "seed", "priority", "resources", "hydra")


@dataclass(frozen=True, slots=True)
class Choice:
    """A key that takes one of some texts."""

    key: str
    options: tuple[str, ...]

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.options)

    def text(self, value: Any) -> str:
        """Write a drawn value as the command line takes it."""
        return str(value)

    def value(self, text: str) -> Any:
        """Read it back."""
        return text


@dataclass(frozen=True, slots=True)
class Steps:
    """A key that takes one of ``count`` fractions, ``low`` and those that follow in steps.

    They are counted, and reckoned in decimals, so that they are those that were written.
    """

    key: str
    low: Decimal
    step: Decimal
    count: int

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from: how many steps are taken from ``low``."""
        from optuna.distributions import IntDistribution

        return IntDistribution(0, self.count - 1)

    def text(self, value: Any) -> str:
        """Write a drawn value as the command line takes it."""
        return repr(float(self.low + value * self.step))

    def value(self, text: str) -> Any:
        """Read it back; what lies between two steps is the nearer one."""
        return round((Decimal(text) - self.low) / self.step)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A key that takes a number from ``low`` to ``high``: a whole one, in steps, if both are."""

    key: str
    low: float
    high: float
    step: int = 1
    is_log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether fractions are left out."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log, step=self.step)
        return FloatDistribution(self.low, self.high, log=self.is_log)

    def text(self, value: Any) -> str:
        """Write a drawn value as the command line takes it."""
        if self.is_whole:
            return str(value)
        width = Decimal(str(self.high)) - Decimal(str(self.low))
        num_digits = _NUM_DIGITS + max(0, Decimal(value).adjusted() - width.adjusted())
        # Rounding must not lead out of the interval.
        return repr(min(max(float(f"{value:.{num_digits}g}"), self.low), self.high))

    def value(self, text: str) -> Any:
        """Read it back."""
        return int(text) if self.is_whole else float(text)


Dimension = Choice | Steps | Numbers


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched.

    Attributes:
        dimensions: In the order of their keys, so that draws do not depend on how a command was
            written.
        texts: How each key's values were given.
    """

    dimensions: tuple[Dimension, ...]
    texts: dict[str, str]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> Space:
        """Read it from the overrides of its keys.

        Raises:
            ConfigError: If there is none, or one cannot be drawn from.
        """
        require(
            bool(overrides),
            "there is nothing to search: no plain key has several values; give e.g. "
            "trainer.num_hidden=2,3,5 or 'trainer.guide.temperature=interval(0.3,1.0)', or choose "
            "search=grid",
        )
        ordered = sorted(overrides, key=lambda override: str(override.get_key_element()))
        return cls(
            tuple(_dimension(override) for override in ordered),
            {override.get_key_element(): override.get_value_string() for override in ordered},
        )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return what Optuna draws from, by key."""
        return {each.key: each.distribution() for each in self.dimensions}

    def setting(self, params: dict[str, Any]) -> Setting:
        """Write what Optuna drew as the command line takes it."""
        return {each.key: each.text(params[each.key]) for each in self.dimensions}

    def params(self, setting: Setting) -> dict[str, Any]:
        """Read it back."""
        return {each.key: each.value(setting[each.key]) for each in self.dimensions}


def is_searched(override: Override, *, is_group: bool) -> bool:
    """Tell whether a key of a sweep is searched; otherwise every setting runs with all its values.

    Args:
        override: Gives the key its values.
        is_group: Whether they are options of a config group.
    """
    root = override.key_or_group.partition(".")[0]
    return override.is_sweep_override() and not is_group and root not in _NEVER_SEARCHED


def _dimension(override: Override) -> Dimension:
    key, value = override.get_key_element(), override.value()
    tags: set[str] = getattr(value, "tags", set())
    require(
        tags <= {"log"},
        f"{override.input_line} has the tag {min(tags - {'log'}, default='')}, which a search does "
        "not know; the only one is log, e.g. tag(log,interval(0.001,1))",
    )
    match value:
        case ChoiceSweep(shuffle=False) if not tags:
            return Choice(key, tuple(dict.fromkeys(override.sweep_string_iterator())))
        case RangeSweep():
            return _range(override, key, value, is_log=bool(tags))
        case IntervalSweep(start=float() | int() as low, end=float() | int() as high):
            return _checked(override, Numbers(key, low, high, is_log=bool(tags)))
    raise ConfigError(
        f"{override.input_line} cannot be searched; write a list of values, range(…) or interval(…)"
    )


def _range(override: Override, key: str, value: RangeSweep, *, is_log: bool) -> Dimension:
    given = (value.start, value.stop, value.step)
    start, stop, step = (Decimal(str(number)) for number in given)
    require(
        start.is_finite() and stop.is_finite() and step.is_finite() and step != 0,
        f"{override.input_line} has no end; give finite numbers, and a step other than 0",
    )
    count = ceil((stop - start) / step)
    require(count > 0, f"{override.input_line} holds no value; its end must lie beyond its start")
    is_whole = all(isinstance(number, int) for number in given)
    require(
        not is_log or (is_whole and abs(step) == 1),
        f"{override.input_line} has steps, which a logarithmic scale does not take; give whole "
        "numbers in steps of 1, or interval(…)",
    )
    low, high = sorted((start, start + (count - 1) * step))
    if not is_whole:
        return Steps(key, low, abs(step), count)
    return _checked(override, Numbers(key, int(low), int(high), int(abs(step)), is_log))


def _checked(override: Override, numbers: Numbers) -> Numbers:
    require(
        isfinite(numbers.low) and isfinite(numbers.high),
        f"{override.input_line} has no end; give finite numbers",
    )
    require(
        numbers.low <= numbers.high,
        f"{override.input_line} ends before it begins; give the lower end first",
    )
    require(
        not numbers.is_log or numbers.low > 0,
        f"{override.input_line} is on a logarithmic scale, so its lower end must be above zero",
    )
    return numbers
