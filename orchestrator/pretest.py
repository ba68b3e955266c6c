"""``action=pretest``: how much prompts matter for each task, before a sweep is paid for.

It runs in this process, without Ray, one task and network after the other.  Answers go to the store
of the sweep, so that what its trials ask in the same words is not paid again.  The bounds of the
sweep's budget hold for all of them together, without what its trials used; those of a single trial
do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import anyio.to_thread
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from dln_core.errors import BudgetError
from dln_core.llm.allowance import Allowance, Amount
from dln_core.llm.ledger import Ledger
from dln_core.pretest import pretest
from dln_core.trial import Services
from orchestrator.accounts import Exhausted
from orchestrator.budget import check_prices
from orchestrator.cluster.local_server import serve, served_models, with_addresses
from orchestrator.files import write_atomic
from orchestrator.groups import first_of
from orchestrator.interrupts import ending_at_once_if_repeated
from orchestrator.journal import Journal
from orchestrator.planning.past import kind_of
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.settings.schema import BudgetConfig
from orchestrator.terminal.console import console, say

PRETEST_FILE = "pretest.json"
# A smaller gain is hardly worth a sweep.
_WORTH_WHILE = 0.02

# What is wrong with a proposal, as its guard calls it.
_REFUSALS = {
    "asks_user": "asking for something",
    "copies_case": "copying a training example",
    "copies_held_out": "copying a dev or test example",
    "drops_label": "without all labels",
    "duplicate": "equal to another one",
    "echo": "repeating the request for it",
    "refused_by_endpoint": "refused by the endpoint",
    "too_long": "too long",
    "too_long_for_context": "too long for the model's context",
}

Figures = dict[str, Any]


async def run_pretest(plan: Plan) -> int:
    """Pretest each task, network and model of a plan once, print what it shows, and return 0.

    What is cancelled on the way leaves the pretests that are done on disk.

    Raises:
        BudgetError: If the budget is used up before all is done; what was done is printed and kept.
        ConfigError: If a budget cannot be kept.
        JournalError: If another driver owns the output folder, or it cannot be written.
        DLNError: If the data or a model cannot be used.
    """
    models = [llm for trial in plan.trials for llm in trial.settings.models]
    check_prices("budget", plan.run.budget, models)
    try:
        with ending_at_once_if_repeated():
            await _run_pretest(plan)
    except ExceptionGroup as group:
        raise first_of(group) from group
    return 0


async def _run_pretest(plan: Plan) -> None:
    trials, started_s = _one_of_each(plan.trials), time.monotonic()
    ledger = Ledger(allowance=_allowance(plan.run.budget))
    found: list[Figures] = []
    with Journal.locked(plan.out_dir) as journal:
        services = Services(
            limits=plan.run.limits,
            backward_limits=plan.run.backward_limits,
            cache=plan.run.cache,
            store=journal.id,
        )
        try:
            async with serve(served_models(trial.settings for trial in trials)) as addresses:
                for number, trial in enumerate(trials, start=1):
                    say(f"pretest {number} of {len(trials)}: {_subject(trial)}")
                    settings = with_addresses(trial.settings, addresses)
                    figures = await pretest(settings, services, plan.run.pretest, ledger=ledger)
                    found.append(figures)
                    await _record(found, plan)
                    _show(figures, plan)
        except* BudgetError:
            pass  # said below, after what it cost
    say(f"\n{_costs(ledger)}")
    if found:
        say(f"Recorded in {plan.out_dir / PRETEST_FILE}; the test split was not looked at.")
    if len(found) < len(trials):
        bound = _reached(plan.run.budget, time.monotonic() - started_s)
        raise BudgetError(
            f"{bound} does not leave what the next call needs, after {len(found)} of {len(trials)} "
            "pretests; the same command with a larger budget goes on, and pays for no stored "
            "answer again"
        )


def _allowance(budget: BudgetConfig) -> Allowance:
    bounds = budget.bounds()
    tokens, cost_usd = (bounds.get(name, math.inf) for name in ("max_tokens", "max_cost_usd"))
    return Allowance(Amount(tokens, cost_usd), bounds.get("max_seconds", math.inf))


def _reached(budget: BudgetConfig, seconds: float) -> str:
    """Name the bound that held calls back; of tokens and money both, if both are bounded."""
    bounds = budget.bounds()
    names = [name for name in bounds if name != "max_seconds"]
    if seconds >= bounds.get("max_seconds", math.inf):
        names = ["max_seconds"]
    return " or ".join(str(Exhausted(f"budget.{name}", bounds[name])) for name in names)


async def _record(found: list[Figures], plan: Plan) -> None:
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n"
    await anyio.to_thread.run_sync(write_atomic, plan.out_dir / PRETEST_FILE, text)


def _show(figures: Figures, plan: Plan) -> None:
    console.print(_prompt_table(figures))
    for line in _findings(figures, plan.run.pretest.num_examples):
        say(line)


def _subject(trial: PlannedTrial) -> str:
    settings = trial.settings
    return f"{settings.task.name} {settings.network.name}, asking {settings.llm.model}"


def _one_of_each(trials: Iterable[PlannedTrial]) -> list[PlannedTrial]:
    """The first trial of each task, network and models, whatever its seed and training."""
    kinds: dict[str, PlannedTrial] = {}
    for trial in trials:
        kinds.setdefault(kind_of(trial.settings), trial)
    return list(kinds.values())


def _prompt_table(figures: Figures) -> Table:
    title = (
        f"{figures['task']} {figures['network']}: {figures['metric'].replace('_', ' ')} in percent "
        f"on {figures['num_examples']} dev examples, with 95 % intervals"
    )
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True
    )
    for heading in ("layer", "prompt", "worked examples", "result"):
        side: JustifyMethod = "right" if heading == "result" else "left"
        table.add_column(heading, justify=side, no_wrap=True)
    table.add_column("instruction", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in figures["prompts"]:
        shown = (
            row["layer"] or "",
            row["name"],
            str(row["num_demonstrations"] or ""),
            f"{_percent(row['accuracy'])} {_interval(row)}",
            " ".join((row["instruction"] or "").split()),
        )
        table.add_row(*map(escape, shown))
    return table


def _findings(figures: Figures, num_wanted: int) -> list[str]:
    gain = figures["gain"]
    lines = [
        f"Best on all {figures['num_examples']}: {_best(figures['prompts'])}.",
        f"Against the initial prompt, the best other one gains {_points(gain)} points (one half of "
        f"the examples chooses it, the other judges it): {_verdict(figures, num_wanted)}.",
    ]
    if figures["refused"]:
        lines.insert(0, _refusals(figures["refused"]))
    crossed = figures["interaction"]
    if crossed is not None:
        first, last = crossed["strongest"]
        lines.append(
            f"The prompts of {' and '.join(crossed['layers'])} interact most in {first} with "
            f"{last}: together they gain {_points(crossed)} points more than the sum of what each "
            "gains alone (an interval for all pairs at once): "
            f"{_verdict_on_interaction(crossed)}."
        )
    return lines


def _refusals(refused: dict[str, int]) -> str:
    reasons = (f"{num} {_REFUSALS.get(name, name)}" for name, num in refused.items())
    num_refused = sum(refused.values())
    return f"Not tried, of what the model proposed, {num_refused}: {', '.join(reasons)}."


def _best(rows: list[Figures]) -> str:
    highest = max(row["accuracy"] for row in rows)
    names = [_name(row) for row in rows if row["accuracy"] == highest]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more, equally good"


def _verdict(figures: Figures, num_wanted: int) -> str:
    gain, num_examples = figures["gain"], figures["num_examples"]
    if gain["low"] > 0:
        return "prompts matter here"
    if gain["high"] < _WORTH_WHILE:
        return "little is to be gained by such prompts"
    # A dev split that is too small gives no more, whatever is asked for.
    is_short = num_examples < num_wanted
    more = "data.max_dev, if the task has more," if is_short else "pretest.num_examples"
    return f"{num_examples} examples do not tell whether prompts matter; raise {more} to know"


def _verdict_on_interaction(crossed: Figures) -> str:
    if crossed["low"] > 0 or crossed["high"] < 0:
        return "the layers have to be trained together"
    return "no interaction is shown"


def _costs(ledger: Ledger) -> str:
    totals, cost_usd = ledger.totals(), ledger.cost_usd
    tokens = totals.paid_prompt_tokens + totals.paid_completion_tokens
    money = "of unknown price" if cost_usd is None else f"for {cost_usd:,.2f} USD"
    return (
        f"{totals.calls:,} calls, of which {totals.paid_calls:,} were sent: {tokens:,} tokens "
        f"{money}."
    )


def _name(row: Figures) -> str:
    return f"{row['layer']} {row['name']}" if row["layer"] else str(row["name"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(row: Figures) -> str:
    return f"[{_percent(row['low'])}, {_percent(row['high'])}]"


def _points(difference: Figures) -> str:
    return f"{100 * difference['mean']:+.1f} {_interval(difference)}"
