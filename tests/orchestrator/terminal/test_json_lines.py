"""What machines read of a run: one JSON object a line, and nothing else."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from dln_core.errors import ConfigError
from orchestrator.settings.schema import RunConfig
from orchestrator.summary import TrialSummary
from orchestrator.terminal import console as consoles
from orchestrator.terminal.console import choose_output, say
from orchestrator.terminal.json_lines import JsonLines
from orchestrator.terminal.progress import SweepProgress


def test_every_line_is_an_object_without_texts(toy_plan, toy_event):
    plan = toy_plan(13)
    trial = plan.trials[0]
    summaries = {trial.trial_id: TrialSummary()}
    progress = SweepProgress(plan, summaries, 1)
    file = io.StringIO()
    with JsonLines(progress, file) as lines:
        for observer in (progress, lines):
            observer.moved(trial, "starting")
        for event in (toy_event(1), toy_event(2, kind="finish")):
            summaries[trial.trial_id].add(event)
            for observer in (progress, lines):
                observer.recorded(trial, event, 1)
    told = [json.loads(line) for line in file.getvalue().splitlines()]
    kinds = [line["kind"] for line in told]
    assert kinds == ["totals", "phase", "event", "totals", "event", "totals"]
    assert all(line["time"] > 0 for line in told)
    assert told[1]["trial_id"] == trial.trial_id
    assert (told[1]["trial"], told[1]["phase"]) == (trial.name, "starting")
    assert told[2]["event"]["metrics"] == toy_event(1)["metrics"]
    assert not {"network", "best_network", "predictions", "candidates"} & {*told[4]["event"]}
    assert told[0]["trials"] == {"all": 1, "waiting": 1}
    assert told[5]["trials"] == {"all": 1, "finished": 1}
    assert (told[5]["calls"], told[5]["tokens"], told[5]["left_s"]) == (20, 440, 0.0)


class ClosedPipe(io.StringIO):
    """What nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_away_ends_the_command_and_no_trial_is_blamed(toy_plan):
    """Trials take every ``Exception`` for their own; the command line tells of a ``SystemExit``."""
    plan = toy_plan(13)
    progress = SweepProgress(plan, {plan.trials[0].trial_id: TrialSummary()}, 1)
    with pytest.raises(SystemExit):
        JsonLines(progress, ClosedPipe()).moved(plan.trials[0], "starting")


def test_once_nobody_reads_it_the_standard_output_is_let_go_of_in_silence():
    program = "import sys; from orchestrator.terminal.json_lines import write_line\n"
    program += "try:\n  while True: write_line('a', {})\n"
    program += "except SystemExit:\n  write_line('b', {})\n  sys.exit(1)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_with_json_all_that_is_said_goes_to_the_standard_error(capsys, monkeypatch):
    console = consoles.console
    monkeypatch.setattr(console, "file", console.file)  # put back after the test
    assert choose_output("json") == "json"
    say("to people")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "to people\n")


def test_without_a_terminal_lines_are_plain_and_a_table_is_refused(capsys):
    assert choose_output("auto") == "plain"
    assert choose_output("plain") == "plain"
    with pytest.raises(ConfigError, match="output=live needs a terminal"):
        choose_output("live")
    with pytest.raises(ConfigError, match="output=xml is unknown; choose one of: auto, live"):
        RunConfig(output="xml")
