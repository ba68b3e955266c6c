"""Which reference points are computed beside the trials of a task."""

from __future__ import annotations

from collections.abc import Iterable

from dln_core.config.checks import require_choice

# In the order of their rows.
BASELINES = (
    "majority",
    "initial",
    "initial_calibrated",
    "handwritten",
    "few_shot",
    "kate",
    "cot",
)
# Cheap enough to stand beside every sweep.
DEFAULT_BASELINES = ("majority", "initial", "initial_calibrated", "few_shot")


def chosen_baselines(names: Iterable[str]) -> tuple[str, ...]:
    """Return the named reference points, each once, in the order of their rows.

    Raises:
        ConfigError: If there is no such reference point.
    """
    chosen = set(names)
    for name in sorted(chosen):
        require_choice("baselines", name, BASELINES)
    return tuple(name for name in BASELINES if name in chosen)
