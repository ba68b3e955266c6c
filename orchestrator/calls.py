"""The logged calls of a sweep: a page to browse them, and the latest on the terminal."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from orchestrator.call_files import CALLS_FILE, read_calls
from orchestrator.comparison import baseline_of
from orchestrator.files import write_atomic
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan
from orchestrator.report import render_page
from orchestrator.terminal.console import console, say
from orchestrator.terminal.live import shortened

PAGE_FILE = "calls.html"
# What a browser searches and shows without delay.
MAX_ON_PAGE = 5000
MAX_ON_TERMINAL = 20
MAX_CHARS_OF_ANSWER = 60


@dataclass(frozen=True, slots=True)
class LoggedCalls:
    """The calls of a sweep's trials and reference points.

    Attributes:
        latest: The latest of them, oldest first, each with the name of its ``trial``.
        num_calls: How many are in the files.
        num_left_out: How many were not written down for want of room.
    """

    latest: list[dict[str, Any]]
    num_calls: int
    num_left_out: int


def show_calls(plan: Plan) -> int:
    """Write ``calls.html``, print the latest calls and return the exit code.

    Nothing is locked: it may be asked for while the sweep runs.

    Raises:
        JournalError: If the output folder holds no sweep, or cannot be read or written.
        ConfigError: If it holds other trials than those of the plan.
    """
    journal = Journal(plan.out_dir)
    journal.require_sweep("calls", [trial.trial_id for trial in plan.trials])
    calls = gather_calls(plan, journal)
    if not calls.latest:
        say(
            f"no call is logged in {plan.out_dir}; run the sweep with call_log=all, or with "
            "call_log.share=0.05 for a sample (stored answers are not sent for again)"
        )
        return 0
    write_page(plan, calls)
    console.print(_table(calls))
    say(f"calls: {plan.out_dir / PAGE_FILE}")
    return 0


def gather_calls(plan: Plan, journal: Journal) -> LoggedCalls:
    """Read the logged calls, of which no more than ``MAX_ON_PAGE`` are kept.

    Raises:
        JournalError: If a file is broken or cannot be read.
    """
    num_calls = num_left_out = 0
    latest: list[tuple[float, int, dict[str, Any]]] = []
    for path, name in _files(plan, journal).items():
        for line in read_calls(path):
            if "num_left_out" in line:
                num_left_out += line["num_left_out"]
                continue
            num_calls += 1
            heapq.heappush(latest, (line["time"], num_calls, {"trial": name, **line}))
            if len(latest) > MAX_ON_PAGE:
                heapq.heappop(latest)
    return LoggedCalls([call for _, _, call in sorted(latest)], num_calls, num_left_out)


def write_page(plan: Plan, calls: LoggedCalls) -> None:
    """Write ``calls.html``; nothing in it is loaded from elsewhere.

    Raises:
        JournalError: If the file system refuses.
    """
    page = render_page(
        "calls.html.j2",
        sweep=plan.sweep,
        calls=calls.latest[::-1],
        num_calls=calls.num_calls,
        num_left_out=calls.num_left_out,
    )
    write_atomic(plan.out_dir / PAGE_FILE, page)


def _files(plan: Plan, journal: Journal) -> dict[Path, str]:
    """The files of logged calls, each with the name of what made the calls."""
    files: dict[Path, str] = {}
    for trial in plan.trials:
        reference = f"baselines {trial.settings.task.name}"
        files[journal.folder(trial.trial_id) / CALLS_FILE] = trial.name
        files[journal.baseline_calls(baseline_of(plan, trial))] = reference
    return files


def _table(calls: LoggedCalls) -> Table:
    shown = calls.latest[-MAX_ON_TERMINAL:]
    title = f"The latest {len(shown)} of {calls.num_calls} logged calls"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True
    )
    for heading in ("time", "trial", "role", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("seconds", "tokens"):
        table.add_column(heading, justify="right")
    table.add_column("what came back", no_wrap=True, overflow="ellipsis", ratio=1)
    for call in shown:
        table.add_row(*map(escape, _cells(call)))
    return table


def _cells(call: dict[str, Any]) -> tuple[str, ...]:
    usage = call["usage"]
    return (
        time.strftime("%H:%M:%S", time.localtime(call["time"])),
        shortened(call["trial"], console.width // 4),
        call["role"],
        call["kind"] if call["list_size"] == 1 else f"{call['kind']} (list of {call['list_size']})",
        f"{call['duration_s']:.2f}",
        f"{usage['prompt_tokens']} + {usage['completion_tokens']}" if usage else "",
        _flat(call["error"] or _outcome(call)),
    )


def _outcome(call: dict[str, Any]) -> str:
    """The text that was written, or the target that was found most probable."""
    answers = [answer for answer in call["answers"] if answer["logprob"] is not None]
    if call["kind"] == "scoring" and answers:
        best = max(answers, key=lambda answer: float(answer["logprob"]))
        return f"{best['logprob']:.2f} nats: {best['text']}"
    return " | ".join(answer["text"] for answer in call["answers"])


def _flat(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_CHARS_OF_ANSWER else f"{flat[: MAX_CHARS_OF_ANSWER - 1]}…"
