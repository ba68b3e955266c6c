"""What people see: a live table that fits its terminal, plain lines in files."""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.summary import TrialSummary
from orchestrator.terminal.live import (
    MAX_TRIALS_BY_STEP,
    LiveTable,
    PlainLines,
    cost_text,
    duration_text,
    shortened,
)
from orchestrator.terminal.progress import SweepProgress

# One run of a large sweep on the terminal that the process has; see ``screens``.
LIVE_SWEEP = """
import pickle, sys
from rich.console import Console
from orchestrator.terminal.progress import SweepProgress
from orchestrator.summary import TrialSummary
from orchestrator.terminal.live import LiveView

plan, events = pickle.load(open(sys.argv[1], "rb"))
summaries = {trial.trial_id: TrialSummary() for trial in plan.trials}
progress = SweepProgress(plan, summaries, 60)
console = Console(highlight=False)
with LiveView(console, progress) as view:
    def record(trial, event):
        summaries[trial.trial_id].add(event)
        progress.recorded(trial, event, 1)
        view.recorded(trial, event, 1)
        view._live.refresh()
    for trial in plan.trials[:60]:
        progress.moved(trial, "starting")
    view._live.refresh()
    for trial in plan.trials[:60]:
        progress.counted(trial.trial_id, {"calls": 1234567, "tokens": 10**9, "cost_usd": 123.4})
        record(trial, events["start"])
    for trial in plan.trials[:3]:
        record(trial, events["failed"])
    for trial in plan.trials[3:55]:
        record(trial, events["finish"])
print("done")
"""


class Screen:
    """A terminal of which only what Rich's live view uses is there; counts what goes wrong."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.lines = [""] * height
        self.row = self.column = 0
        self.num_wrapped = self.num_scrolled = 0
        self._rest = ""

    def feed(self, text):
        # A write may end within a control sequence.
        whole, rest = re.fullmatch(r"(?s)(.*?)(\x1b(?:\[[?\d;]*)?)?", self._rest + text).groups()
        self._rest = rest or ""
        parts = re.findall(r"(?s)\x1b\[[?\d;]*[A-Za-z]|.", whole)
        for part in parts:
            if part.startswith("\x1b["):
                self._control(part)
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
            else:
                self._write(part)

    def _control(self, part):
        count = int(re.sub(r"\D", "", part) or 1)
        if part[-1] == "A":
            # What has scrolled away cannot be reached: its ghost stays on the screen.
            assert self.row - count >= 0
            self.row -= count
        elif part[-1] == "K":
            self.lines[self.row] = ""
        else:
            assert part[-1] in "mhl", part

    def _down(self):
        self.row += 1
        if self.row == self.height:
            self.lines = [*self.lines[1:], ""]
            self.row -= 1
            self.num_scrolled += 1

    def _write(self, sign):
        if self.column == self.width:
            self.num_wrapped += 1
            self.column = 0
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + sign + line[self.column + 1 :]
        self.column += 1


@pytest.fixture
def large_sweep(toy_plan, toy_event, tmp_path):
    plan = toy_plan(*range(100))
    events = {
        "start": toy_event(1),
        "failed": {"kind": "failed", "error": "the endpoint is gone"},
        "finish": toy_event(2, kind="finish"),
    }
    path = tmp_path / "sweep.pickle"
    path.write_bytes(pickle.dumps((plan, events)))
    return path


def drawn(arguments, screen):
    """Run a program on a terminal of the screen's size; yield after each of its writes."""
    master, slave = pty.openpty()
    size = struct.pack("HHHH", screen.height, screen.width, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    names = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=Path(__file__).parents[3],
        env=environment | {"TERM": "xterm-256color"},
    ) as process:
        os.close(slave)
        while True:
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            screen.feed(chunk.decode(errors="replace"))
            yield
        assert process.wait() == 0
    os.close(master)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_a_hundred_trials_fit_every_terminal(large_sweep, width, height):
    screen = Screen(width, height)
    most = ""
    for _ in drawn(["-c", LIVE_SWEEP, str(large_sweep)], screen):
        text = "\n".join(screen.lines)
        most = max(most, text, key=lambda text: "more" in text and text.count("running"))
    assert screen.num_wrapped == 0
    # Of four lines that stay each may push one away; the table itself never does.
    assert screen.num_scrolled <= 4
    *failures, last = [line for line in screen.lines if line.strip()]
    assert last == "done"
    assert all(line.endswith("failed: the endpoint is gone") for line in failures)
    assert re.search(r"… and \d+ more", most)
    assert "of 100 trials finished" in most
    assert most.count("running") >= height - 6


def shown(renderable, width=120, height=40):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(renderable)
    return console.file.getvalue().splitlines()


@pytest.fixture
def followed(toy_plan):
    def follow(*seeds):
        plan = toy_plan(*seeds)
        summaries = {trial.trial_id: TrialSummary() for trial in plan.trials}
        return plan, SweepProgress(plan, summaries, 2), summaries

    return follow


def test_only_moving_trials_are_listed(followed):
    plan, progress, _ = followed(13, 42)
    progress.moved(plan.trials[1], "starting")
    heading, line, *totals = shown(LiveTable(progress))
    assert heading.split()[:3] == ["trial", "state", "step"]
    assert line.startswith(plan.trials[1].name)
    assert totals[0] == "toy: 0 of 2 trials finished · 1 starting · 1 waiting"
    assert totals[1] == "? left · $0.0000 · 0 tokens · 0 calls"


def test_a_moving_trial_shows_what_it_has_used_so_far(followed, toy_event):
    plan, progress, summaries = followed(13)
    trial = plan.trials[0]
    progress.moved(trial, "starting")
    for step in (0, 1):
        summaries[trial.trial_id].add(toy_event(step))
        progress.recorded(trial, toy_event(step), step + 1)
    line = shown(LiveTable(progress))[1]
    assert line.split()[-7:-1] == ["running", "1/2", "60.0", "20", "440", "$0.5000"]
    progress.counted(trial.trial_id, {"calls": 33, "tokens": 999, "cost_usd": 1.0})
    assert " 33 " in shown(LiveTable(progress))[1]


def test_a_narrow_terminal_gets_fewer_columns_and_names_cut_in_the_middle(followed):
    plan, progress, _ = followed(13)
    progress.moved(plan.trials[0], "starting")
    for width in range(10, 100):
        for line in shown(LiveTable(progress), width=width):
            assert len(line) <= width
    assert "step" in shown(LiveTable(progress), width=30)[0]
    assert shortened("logical_deduction dln2 13", 11) == "logic…ln2 13"[:5] + "…" + "n2 13"


def test_names_that_look_like_markup_are_shown_as_they_are(followed, toy_event):
    plan, progress, _ = followed(13)
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console, progress)
    lines.recorded(plan.trials[0], {"kind": "failed", "error": "no [key]"}, 3)
    assert "failed: no [key]\n" in console.file.getvalue()


def test_files_get_a_line_an_event(followed, toy_event):
    plan, progress, _ = followed(13)
    trial = plan.trials[0]
    console = Console(file=io.StringIO(), width=200)
    with PlainLines(console, progress) as lines:
        lines.moved(trial, "starting")
        lines.recorded(trial, toy_event(1), 2)
        lines.recorded(trial, toy_event(2, kind="finish"), 3)
    text = console.file.getvalue()
    assert f"{trial.name}: starting\n" in text
    assert f"{trial.name}: step 1, dev 0.600, elbo -2.000, 10 calls, 2.0 s\n" in text
    assert f"{trial.name}: finished, test 50.0 on 2 items\n" in text


def test_files_of_large_sweeps_tell_of_starts_and_ends_alone(followed, toy_event):
    plan, progress, _ = followed(*range(MAX_TRIALS_BY_STEP + 1))
    console = Console(file=io.StringIO(), width=200)
    lines = PlainLines(console, progress)
    lines.recorded(plan.trials[0], toy_event(1), 2)
    assert console.file.getvalue() == ""
    lines.recorded(plan.trials[0], toy_event(2, kind="finish"), 3)
    assert "finished, test 50.0" in console.file.getvalue()


def test_amounts_and_durations_are_short():
    assert (cost_text(None), cost_text(0.5)) == ("$?", "$0.5000")
    assert [duration_text(s) for s in (None, 5, 65, 3725)] == ["?", "0m05s", "1m05s", "1h02m"]
