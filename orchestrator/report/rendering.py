"""Filling in pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.comparison import SweepResults

BASELINE_COLUMNS = (
    "task", "model", "baseline", "num_items", "num_correct", "accuracy", "low", "high",
)  # fmt: skip


# What stands where there is no figure.
NONE = "\N{EN DASH}"


def baseline_columns(results: SweepResults) -> tuple[str, ...]:
    """Return the columns of the reference points; the metric only if it is not all accuracy."""
    return BASELINE_COLUMNS if results.metrics == {"accuracy"} else (*BASELINE_COLUMNS, "metric")


def render_page(template: str, **values: Any) -> str:
    """Fill in a template of this package or of the orchestrator's folder; texts are escaped."""
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["signed"] = signed
    environment.filters["p_value"] = p_value
    environment.filters["count"] = count
    return environment.get_template(template).render(**values)


def percent(share: float | None) -> str:
    """Write a share in percent."""
    return NONE if share is None else f"{100 * share:.1f}"


def signed(share: float) -> str:
    """Write a difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """Write a p-value; what is tiny is only said to be."""
    return "< 0.0001" if p < 1e-4 else f"{p:.3g}" if p < 0.1 else f"{p:.2f}"


def count(number: float | None) -> str:
    """Write a number with commas."""
    return NONE if number is None else f"{number:,.0f}"
