"""The plan as a table on the terminal, with what it is expected to cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from orchestrator.jobs import is_open
from orchestrator.journal import Journal
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.bounds import told_bounds
from orchestrator.planning.estimate import sum_estimates
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.settings.schema import BudgetConfig
from orchestrator.trial_journal import DamagedJournalError

_MAX_SINGLE_ROWS = 30
_MAX_SEEDS = 6
_WIDTH_OF_FILES = 160
_UNBOUNDED = 100_000
# Left out in this order where the terminal is too narrow.
_DISPENSABLE = ("rests on", "trial", "USD")
_TIME_BASES = {
    "past": "by what past trials took",
    "limits": "the least that the limits allow at a request for each call",
    "local": "if the local model runs on one core like that of the benchmarks",
}


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print the trials, one by one or grouped over seeds, and the estimate of the whole run."""
    console = console or _console()
    rows = []
    for group in _groups(plan.trials):
        estimate = sum_estimates([trial.estimate for trial in group], plan.run)
        rows.append([*map(escape, _row(group)), *_costs(estimate)])
    dropped: tuple[str, ...] = ()
    unbounded = console.options.update(width=_UNBOUNDED)
    for count in range(len(_DISPENSABLE) + 1):
        dropped = _DISPENSABLE[:count]
        table = _table(plan, rows, dropped)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
    console.print(table)
    if dropped:
        console.print(f"Too narrow for {', '.join(dropped)}: plan.json has all.", highlight=False)
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


def _table(plan: Plan, rows: Sequence[Sequence[str]], dropped: Collection[str]) -> Table:
    table = Table(title=f"{plan.sweep}: {_count(len(plan.trials), 'trial')}", title_justify="left")
    names = ("task", "network", "seed", *plan.trials[0].varying)
    costs = ("calls", "tokens", "USD", "rests on")
    headings = ("trial", *names, *costs)
    kept = [column for column, heading in enumerate(headings) if heading not in dropped]
    for column in kept:
        heading = headings[column]
        side: JustifyMethod = "right" if heading in costs else "left"
        table.add_column(heading, justify=side, no_wrap=heading not in names, overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in kept))
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
    low, high = estimate.low.cost, estimate.high.cost
    yield _range(_short, low.calls, estimate.total.calls, high.calls)
    yield _range(_short, low.tokens, estimate.total.tokens, high.tokens)
    yield _range(_money, estimate.low.cost_usd, estimate.cost_usd, estimate.high.cost_usd)
    yield _count(estimate.num_past, "past trial") if estimate.num_past else "formula"


def _summary(plan: Plan) -> str:
    estimate, low, high = plan.estimate, plan.estimate.low.cost, plan.estimate.high.cost
    total = estimate.total
    calls = _range(_short, low.calls, total.calls, high.calls)
    prompt = _range(_short, low.prompt_tokens, total.prompt_tokens, high.prompt_tokens)
    written = _range(_short, low.completion_tokens, total.completion_tokens, high.completion_tokens)
    lines = [
        "Low, expected and high, with the reference points: "
        f"{calls} calls, {prompt} prompt and {written} completion tokens.",
        f"Money: {_money_sentence(plan)}.  Time: {_time_sentence(plan)}.",
        *told_bounds(plan),
        *_progress(plan),
        "No call was made.",
    ]
    return "\n".join(lines)


def _progress(plan: Plan) -> list[str]:
    """Say how much of the plan is done already."""
    journal = Journal(plan.out_dir)
    num_done = sum(_is_done(journal, trial, plan.run.budget) for trial in plan.trials)
    if not num_done:
        return []
    done = "is" if num_done == 1 else "are"
    return [f"Of {_count(len(plan.trials), 'trial')} {num_done} {done} finished and not run again."]


def _is_done(journal: Journal, trial: PlannedTrial, budget: BudgetConfig) -> bool:
    try:
        return not is_open(journal.read(trial.trial_id).summary, budget)
    except DamagedJournalError:
        return False


def _money_sentence(plan: Plan) -> str:
    estimate = plan.estimate
    if estimate.cost_usd is None:
        return "unknown, since no price is set (llm.price.prompt_usd_per_million and the like)"
    if estimate.cost_usd == 0:
        return "none"
    money = _range(_money, estimate.low.cost_usd, estimate.cost_usd, estimate.high.cost_usd)
    return f"{money} USD, less what stored answers spare"


def _time_sentence(plan: Plan) -> str:
    estimate = plan.estimate
    if estimate.time_basis is None:
        return "unknown before the first trials of these tasks, networks and models"
    seconds = _range(_time, estimate.low.seconds, estimate.seconds, estimate.high.seconds)
    return f"{seconds}, {_TIME_BASES[estimate.time_basis]}"


def _range(
    shown: Callable[[float], str], low: float | None, expected: float | None, high: float | None
) -> str:
    """Write low, expected and high, once if they look the same."""
    if low is None or expected is None or high is None:
        return "unknown"
    texts = dict.fromkeys(shown(value) for value in (low, expected, high))
    return "\N{EN DASH}".join(texts)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _money(cost_usd: float) -> str:
    return f"{cost_usd:,.2f}"


def _short(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:,.1f} M"
    return f"{number / 1e3:,.1f} k" if number >= 1e4 else f"{number:,.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
