"""The report of a sweep as one self-contained page, and the action that rebuilds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dln_core.errors import JournalError
from orchestrator.console import console, say
from orchestrator.files import write_atomic
from orchestrator.journal import Journal
from orchestrator.plan import Plan
from orchestrator.results import BASELINE_COLUMNS, SweepResults, gather, write_results
from orchestrator.table import HEADINGS, result_cells, result_table


def write_report(plan: Plan, results: SweepResults, compare_url: str | None) -> None:
    """Write ``report.html``; nothing in it is loaded from elsewhere.

    Args:
        plan: The sweep.
        results: Its rows and reference points.
        compare_url: MLflow's page that compares the runs, if known.

    Raises:
        JournalError: If the file system refuses.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        sweep=plan.sweep,
        headings=HEADINGS,
        rows=result_cells(results),
        baseline_headings=BASELINE_COLUMNS,
        baselines=[[_shown(row[name]) for name in BASELINE_COLUMNS] for row in results.baselines],
        networks=_networks(results),
        failures=_failures(results),
        compare_url=compare_url,
    )
    write_atomic(plan.out_dir / "report.html", page)


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _networks(results: SweepResults) -> list[tuple[str, dict[str, Any]]]:
    found = ((trial.name, results.summaries[trial.trial_id].network) for trial in results.trials)
    return [(name, network) for name, network in found if network is not None]


def _failures(results: SweepResults) -> list[tuple[str, str]]:
    found = ((trial.name, results.summaries[trial.trial_id].error) for trial in results.trials)
    return [(name, error) for name, error in found if error]


def report(plan: Plan) -> int:
    """Rebuild results, reference points and report from the journals; return the exit code.

    Nothing is locked: it may be asked for while the sweep runs.

    Raises:
        JournalError: If the output folder holds no sweep, or cannot be read or written.
    """
    journal = Journal(plan.out_dir)
    if not journal.id:
        raise JournalError(
            f"{plan.out_dir} holds no sweep to report on; run the command without action=report "
            "first, or give its out_dir"
        )
    summaries = {trial.trial_id: journal.read(trial.trial_id).summary for trial in plan.trials}
    results = gather(plan, journal, summaries)
    write_results(plan.out_dir, results)
    write_report(plan, results, None)
    console.print(result_table(results))
    say(f"report: {plan.out_dir / 'report.html'}")
    return 0
