"""The command line: exit codes, what is printed, and what is imported on the way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import orchestrator
from dln_core.errors import LLMError
from orchestrator import cli
from orchestrator.interrupts import treat_sigterm_as_interrupt
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan
from orchestrator.settings.schema import ACTIONS
from tests.orchestrator.conftest import MakePlan

REPOSITORY = Path(orchestrator.__file__).resolve().parent.parent
HEAVY = "[name for name in ('ray', 'mlflow') if name in sys.modules]"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What Hydra shows of itself sets up logging for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and leave this process's signals and environment alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "treat_sigterm_as_interrupt", lambda: None)
    for name, value in cli.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def run_python(
    *arguments: str, folder: Path, packages: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    environment.pop("DLN_DATA_DIR", None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer.num_iteratons=3"],
        ["llm=opnai"],
        ["task=triage,routing"],
        ["seed=-1"],
        ["--config-dir", "elsewhere"],
        ["--seed=3"],
        ["--info", "nothing"],
        ["--cfg", "job", "-m"],
        ["--help", "llm=opnai"],
        ["trainer.batch_size=9999", "action=plan"],
        ["llm.model=no-such-model"],
        ["network.init=setup.cfg"],
        ["network.layers=[{template:no_such_template}]"],
    ],
    ids=" ".join,
)
def test_wrong_settings_end_with_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_told_before_ray_or_mlflow_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from orchestrator.cli import main; "
        f"code = main(['task=trec', 'action=run']); print(code, {HEAVY})"
    )
    done = run_python("-c", program, folder=tmp_path)
    assert done.stdout == "2 []\n"
    assert "Traceback" not in done.stderr


def test_a_plan_is_printed_and_recorded_without_ray_or_mlflow(tmp_path: Path) -> None:
    program = (
        "import sys; from orchestrator.cli import main; "
        f"code = main(['+sweep=smoke', 'action=plan']); print(code, {HEAVY})"
    )
    done = run_python("-c", program, folder=tmp_path)
    assert done.stdout.endswith("0 []\n"), done.stderr
    saved = json.loads((tmp_path / "runs/smoke/plan.json").read_text())
    assert len(saved["trials"]) == 5
    assert all(trial["trial_id"] in done.stdout for trial in saved["trials"])
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_a_plan_says_where_it_is_recorded_only_once_it_is(
    toy_plan: MakePlan, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy_plan().out_dir
    arguments = ["+sweep=smoke", "action=plan", f"out_dir={folder}"]
    with Journal.locked(folder):
        assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert "note: plan.json was not written" in printed.err
    assert "Recorded in" not in printed.out + printed.err
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert "Recorded in" in printed.out + printed.err


def test_packages_find_their_configuration_where_they_were_installed(tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    for name in ("dln_core", "orchestrator"):
        shutil.copytree(REPOSITORY / name, site / name)
    for name in ("conf", "sweeps"):
        shutil.copytree(REPOSITORY / name, site / "orchestrator" / "_data" / name)
    arguments = ["+sweep=smoke", "task=routing", "-m", "seed=7", "action=plan"]
    done = run_python("-m", "orchestrator", *arguments, folder=empty, packages=site)
    assert done.returncode == 0, done.stderr
    assert "routing" in done.stdout
    assert str(REPOSITORY) not in done.stderr


def test_flags_may_stand_between_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["task=triage", "-m", "seed=1,2", "action=plan"]) == 0
    assert "2 trials" in capsys.readouterr().out


def test_help_names_groups_options_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    networks = "network: cot, dln1, dln1_ensemble, dln2"
    actions = [f"action={name}" for name in ACTIONS if name != "run"]
    for text in ("+sweep=smoke", networks, "navigate", "num_iterations:", *actions):
        assert text in printed


def test_cfg_shows_the_composed_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--cfg", "job", "network=dln2", "llm.extra.top_k=5"]) == 0
    printed = capsys.readouterr().out
    assert "name: dln2" in printed
    assert "top_k: 5" in printed


def test_info_shows_where_settings_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--info", "searchpath"]) == 0
    assert str(REPOSITORY / "conf") in capsys.readouterr().out


@pytest.mark.parametrize("action", ["report", "calls", "sync"])
def test_what_was_never_run_can_neither_be_shown_nor_completed(
    action: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main([f"action={action}"]) == 1
    assert "holds no sweep" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def of_others(toy_plan: MakePlan) -> Path:
    """A folder that holds a sweep of one trial."""
    plan = toy_plan()
    with Journal.locked(plan.out_dir) as journal:
        journal.recover(plan.trials[0].trial_id).begin(plan.trials[0].settings)
    return plan.out_dir


@pytest.mark.parametrize("action", ["report", "calls", "sync"])
def test_a_folder_of_other_trials_is_neither_shown_nor_completed(
    action: str, of_others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert cli.main([f"action={action}", f"out_dir={of_others}"]) == 2
    printed = capsys.readouterr()
    assert f"none that action={action} was asked for" in printed.err
    assert printed.out == ""
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_trials_may_join_a_folder_of_others_which_is_said(
    of_others: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_plan(_plan: Plan) -> int:
        return 0

    monkeypatch.setattr("orchestrator.scheduler.run_plan", run_plan)
    assert cli.main([f"out_dir={of_others}"]) == 0
    said = capsys.readouterr().err
    assert f"note: {of_others} holds 1 trial(s) that this command does not plan" in said
    assert cli.main([]) == 0
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LLMError("the endpoint is gone"), 1, "error: the endpoint is gone\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
        (SystemExit(1), 1, "error: the output could not be written; the same command goes on\n"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_how_a_run_ends_is_told_by_its_exit_code(
    error: BaseException,
    code: int,
    line: str,
    grouped: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_arguments: object) -> int:
        raise BaseExceptionGroup("of a task group", [error]) if grouped else error

    monkeypatch.setattr(cli, "_carry_out", fail)
    assert cli.main([]) == code
    assert capsys.readouterr().err == line


def test_an_error_of_the_program_itself_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_arguments: object) -> int:
        raise ExceptionGroup("of a task group", [ZeroDivisionError()])

    monkeypatch.setattr(cli, "_carry_out", fail)
    with pytest.raises(ExceptionGroup):
        cli.main([])


@pytest.mark.parametrize("on_interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_interrupts_like_ctrl_c_in_the_background_too(on_interrupt: object) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        signal.signal(signal.SIGINT, on_interrupt)
        treat_sigterm_as_interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


CLEANS_UP_FOR_EVER = """
import signal, anyio
from orchestrator.interrupts import ending_at_once_if_repeated, treat_sigterm_as_interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    with ending_at_once_if_repeated():
        try:
            print("running", flush=True)
            await anyio.sleep_forever()
        finally:
            print("cleaning up", flush=True)
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
treat_sigterm_as_interrupt()
anyio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_waits_for_no_cleaning_up(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLEANS_UP_FOR_EVER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for said in ("running\n", "cleaning up\n"):
                assert process.stdout.readline() == said
                process.send_signal(number)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()


def test_sigterm_cancels_what_an_event_loop_runs_and_lets_it_clean_up() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned_up: list[bool] = []

    async def terminated() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await anyio.sleep_forever()
        finally:
            cleaned_up.append(True)

    try:
        treat_sigterm_as_interrupt()
        with pytest.raises(KeyboardInterrupt):
            anyio.run(terminated)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cleaned_up == [True]
