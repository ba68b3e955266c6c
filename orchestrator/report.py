"""The report of a sweep as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.comparison import SweepResults
from orchestrator.files import write_atomic
from orchestrator.plan import Plan
from orchestrator.table import headings, result_cells, title

BASELINE_COLUMNS = (
    "task", "model", "baseline", "num_items", "num_correct", "accuracy", "low", "high",
)  # fmt: skip


def baseline_columns(results: SweepResults) -> tuple[str, ...]:
    """Return the columns of the reference points; the metric only if it is not all accuracy."""
    return BASELINE_COLUMNS if results.metrics == {"accuracy"} else (*BASELINE_COLUMNS, "metric")


def write_report(plan: Plan, results: SweepResults, compare_url: str | None) -> None:
    """Write ``report.html``; nothing in it is loaded from elsewhere.

    Args:
        plan: The sweep.
        results: Its rows and reference points.
        compare_url: MLflow's page that compares the runs, if known.

    Raises:
        JournalError: If the file system refuses.
    """
    columns = baseline_columns(results)
    page = render_page(
        "report.html.j2",
        sweep=plan.sweep,
        headings=headings(results),
        title=title(results),
        rows=result_cells(results),
        baseline_headings=columns,
        baselines=[[_shown(row[name]) for name in columns] for row in results.baselines],
        networks=_networks(results),
        failures=_failures(results),
        compare_url=compare_url,
    )
    write_atomic(plan.out_dir / "report.html", page)


def render_page(template: str, **values: Any) -> str:
    """Fill in a template of this folder; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _networks(results: SweepResults) -> list[tuple[str, dict[str, Any]]]:
    found = ((trial.name, results.summaries[trial.trial_id].network) for trial in results.trials)
    return [(name, network) for name, network in found if network is not None]


def _failures(results: SweepResults) -> list[tuple[str, str]]:
    found = ((trial.name, results.summaries[trial.trial_id].error) for trial in results.trials)
    return [(name, error) for name, error in found if error]
