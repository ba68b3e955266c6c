"""The plan as a table on the terminal, with what it is expected to cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.estimate import HIGH, LOW, Estimate, sum_estimates
from orchestrator.plan import Plan, PlannedTrial

_MAX_SINGLE_ROWS = 30
_MAX_SEEDS = 6
_WIDTH_OF_FILES = 140


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print the trials, one by one or grouped over seeds, and the estimate of the whole run."""
    console = console or _console()
    table = _new_table(plan)
    for group in _groups(plan.trials):
        estimate = sum_estimates([trial.estimate for trial in group], plan.run)
        table.add_row(*map(escape, _row(group)), *_costs(estimate))
    console.print(table)
    console.print(_summary(plan), highlight=False, soft_wrap=True)


def _console() -> Console:
    console = Console()
    # A pipe has no width: eighty columns would cut names that scripts look for.
    return console if console.is_terminal else Console(width=_WIDTH_OF_FILES)


def _groups(trials: Sequence[PlannedTrial]) -> list[list[PlannedTrial]]:
    if len(trials) <= _MAX_SINGLE_ROWS:
        return [[trial] for trial in trials]
    groups: dict[tuple[object, ...], list[PlannedTrial]] = {}
    for trial in trials:
        settings = trial.settings
        key = (settings.task.name, settings.network.name, *trial.varying.items())
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def _new_table(plan: Plan) -> Table:
    varying = list(plan.trials[0].varying)
    table = Table(title=f"{plan.sweep}: {_count(len(plan.trials), 'trial')}", title_justify="left")
    table.add_column("trial", no_wrap=True)
    for name in ("task", "network", "seed", *varying):
        table.add_column(name, overflow="fold")
    for name in ("calls", "tokens", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(group: Sequence[PlannedTrial]) -> list[str]:
    first = group[0]
    settings = first.settings
    name = first.trial_id if len(group) == 1 else _count(len(group), "trial")
    seeds = [str(trial.settings.seed) for trial in group]
    if len(seeds) > _MAX_SEEDS:
        seeds = [*seeds[: _MAX_SEEDS - 2], "…", seeds[-1]]
    values = [str(value) for value in first.varying.values()]
    return [name, settings.task.name, settings.network.name, ", ".join(seeds), *values]


def _costs(estimate: Estimate) -> Iterable[str]:
    total = estimate.total
    return f"{total.calls:,.0f}", _short(total.tokens), _money(estimate.cost_usd)


def _summary(plan: Plan) -> str:
    estimate = plan.estimate
    total = estimate.total
    lines = [
        f"Expected, with the reference points (within a factor of {LOW} to {HIGH}): "
        f"{total.calls:,.0f} calls, {_short(total.prompt_tokens)} prompt and "
        f"{_short(total.completion_tokens)} completion tokens.",
        f"Money: {_money_sentence(plan)}.  Time: {_time_sentence(plan)}.",
        f"Recorded in {plan.out_dir}.  No call was made.",
    ]
    return "\n".join(lines)


def _money_sentence(plan: Plan) -> str:
    cost = plan.estimate.cost_usd
    if cost is None:
        return "unknown, since no price is set (llm.price.prompt_usd_per_million and the like)"
    return "none" if cost == 0 else f"about {_money(cost)} USD"


def _time_sentence(plan: Plan) -> str:
    seconds = plan.estimate.seconds
    if seconds is None:
        return "unknown before the first calls"
    basis = "on one core" if plan.run.llm.provider == "local" else "by the limits"
    return f"about {_time(seconds)} {basis}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _money(cost_usd: float | None) -> str:
    return "unknown" if cost_usd is None else f"{cost_usd:,.2f}"


def _short(tokens: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if tokens >= size:
            return f"{tokens / size:,.1f} {unit}"
    return f"{tokens:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
