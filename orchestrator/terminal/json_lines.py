"""What a running sweep tells to machines: one JSON object a line (``output=json``)."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from orchestrator.files import read_json
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.terminal.progress import SweepProgress

# Texts and lists of examples stand in the journal; a line is to be read as it comes.
KEPT = (
    "kind", "step", "epoch", "time", "metrics", "best", "usage", "cost_usd", "seconds",
    "rung", "api", "test", "stopped", "reason", "bound", "value", "work", "failures", "error",
    "error_type",
)  # fmt: skip


def write_line(kind: str, values: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Write one object; ``time`` is in Unix seconds.

    Args:
        kind: Of which kind it is; the other keys follow from it.
        values: The other keys.
        file: Where to; None is the standard output.

    Raises:
        SystemExit: If it cannot be written, as rich does: trials take an ``Exception`` for their
            own.
    """
    line = json.dumps({"kind": kind, "time": time.time(), **values}, ensure_ascii=False)
    file = file or sys.stdout
    try:
        print(line, file=file, flush=True)
    except OSError as error:
        _let_go(file)
        raise SystemExit(1) from error


def _let_go(file: TextIO) -> None:
    """Send what is written from now on, and what is buffered, nowhere: it is told of once."""
    with suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), file.fileno())


class JsonLines:
    """Writes phases, recorded events and totals as they come.

    Args:
        progress: The sweep whose totals are written; it must be told of each event first.
        file: Where to write; None is the standard output.
    """

    wants_counters = False

    def __init__(self, progress: SweepProgress, file: TextIO | None = None) -> None:
        self._progress = progress
        self._file = file

    def __enter__(self) -> JsonLines:
        self._write_totals()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what was written."""

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Write the phase that a trial enters."""
        write_line("phase", {**_named(trial), "phase": phase}, self._file)

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Write an event without its texts, and the totals that it leads to."""
        told = {name: event[name] for name in KEPT if name in event}
        write_line("event", {**_named(trial), "event": told}, self._file)
        self._write_totals()

    def _write_totals(self) -> None:
        totals = self._progress.totals()
        spent = totals.spent
        values = {
            "sweep": self._progress.sweep,
            "trials": {"all": totals.num_trials, **totals.by_phase},
            "calls": spent.calls,
            "tokens": spent.tokens,
            "cost_usd": spent.cost_usd,
            "left_s": totals.left_s,
        }
        write_line("totals", values, self._file)


def write_end(plan: Plan, exit_code: int) -> None:
    """Write the rows of ``results.json``, a line each, and last how the command ends.

    Args:
        plan: What was carried out.
        exit_code: What the command is going to return.
    """
    for row in read_json(plan.out_dir / "results.json") or []:
        write_line("result", {"result": row})
    out_dir = str(plan.out_dir)
    write_line("end", {"sweep": plan.sweep, "out_dir": out_dir, "exit_code": exit_code})


def _named(trial: PlannedTrial) -> dict[str, Any]:
    return {"trial_id": trial.trial_id, "trial": trial.name}
