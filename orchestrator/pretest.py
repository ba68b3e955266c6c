"""``action=pretest``: how much prompts matter for each task, before a sweep is paid for.

It runs in this process, without Ray, one task and network after the other.  Answers go to the store
of the sweep, so that what its trials ask in the same words is not paid again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import anyio.to_thread
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from dln_core.pretest import pretest
from dln_core.trial import Services
from orchestrator.cluster.local_server import serve, served_models, with_addresses
from orchestrator.files import write_atomic
from orchestrator.groups import first_of
from orchestrator.journal import Journal
from orchestrator.planning.past import kind_of
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.terminal.console import console, say

PRETEST_FILE = "pretest.json"
# A smaller gain is hardly worth a sweep.
_WORTH_WHILE = 0.02

Figures = dict[str, Any]


async def run_pretest(plan: Plan) -> int:
    """Pretest each task, network and model of a plan once, print what it shows, and return 0.

    Raises:
        JournalError: If another driver owns the output folder, or it cannot be written.
        DLNError: If the data or a model cannot be used.
    """
    try:
        await _run_pretest(plan)
    except ExceptionGroup as group:
        raise first_of(group) from group
    return 0


async def _run_pretest(plan: Plan) -> None:
    trials = _one_of_each(plan.trials)
    path = plan.out_dir / PRETEST_FILE
    with Journal.locked(plan.out_dir) as journal:
        services = Services(
            limits=plan.run.limits,
            backward_limits=plan.run.backward_limits,
            cache=plan.run.cache,
            store=journal.id,
        )
        found: list[Figures] = []
        async with serve(served_models(trial.settings for trial in trials)) as addresses:
            for trial in trials:
                settings = with_addresses(trial.settings, addresses)
                figures = await pretest(settings, services, plan.run.pretest)
                found.append(figures)
                console.print(_prompt_table(figures))
                for line in _findings(figures):
                    say(line)
                text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n"
                await anyio.to_thread.run_sync(write_atomic, path, text)
    say(f"\n{_costs(found)}  Recorded in {path}; the test split was not looked at.")


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
            _shortened(row["instruction"] or ""),
        )
        table.add_row(*map(escape, shown))
    return table


def _findings(figures: Figures) -> list[str]:
    gain = figures["gain"]
    best = max(figures["prompts"], key=lambda row: row["accuracy"])
    lines = [
        f"Best on all of them: {_name(best)}.  What is best on one half of the examples gains "
        f"{_points(gain)} points on the other half: {_verdict(gain)}."
    ]
    crossed = figures["interaction"]
    if crossed is not None:
        first, last = crossed["strongest"]
        lines.append(
            f"The prompts of {' and '.join(crossed['layers'])} interact most in {first} with "
            f"{last}: together {_points(crossed)} points beside the sum of what each does alone "
            f"(an interval for all pairs at once): {_verdict_on_interaction(crossed)}."
        )
    return lines


def _verdict(gain: Figures) -> str:
    if gain["low"] > 0:
        return "prompts matter here"
    if gain["high"] < _WORTH_WHILE:
        return "little is to be gained by such prompts"
    return "so few examples do not tell; raise pretest.num_examples to know"


def _verdict_on_interaction(crossed: Figures) -> str:
    if crossed["low"] > 0 or crossed["high"] < 0:
        return "the layers have to be trained together"
    return "no interaction is shown"


def _costs(found: Sequence[Figures]) -> str:
    counts = [counts for figures in found for counts in figures["usage"].values()]
    asked, paid = (sum(each[name] for each in counts) for name in ("calls", "paid_calls"))
    tokens = sum(each["paid_prompt_tokens"] + each["paid_completion_tokens"] for each in counts)
    prices = [figures["cost_usd"] for figures in found]
    money = "of unknown price" if None in prices else f"for {sum(prices):,.2f} USD"
    return f"{asked:,} calls, of which {paid:,} were sent: {tokens:,} tokens {money}."


def _name(row: Figures) -> str:
    return f"{row['layer']} {row['name']}" if row["layer"] else str(row["name"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(row: Figures) -> str:
    return f"[{_percent(row['low'])}, {_percent(row['high'])}]"


def _points(difference: Figures) -> str:
    return f"{100 * difference['mean']:+.1f} {_interval(difference)}"


def _shortened(instruction: str, num_chars: int = 60) -> str:
    line = " ".join(instruction.split())
    return line if len(line) <= num_chars else f"{line[: num_chars - 1]}…"
