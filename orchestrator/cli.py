"""The command line: ``python -m orchestrator [key=value …]``.

Settings are checked before Ray or MLflow is imported, so that a mistake is told at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydra._internal.utils import _run_hydra, get_args_parser
from omegaconf import DictConfig

from dln_core.errors import ConfigError, DLNError, JournalError
from orchestrator.interrupts import INTERRUPTED, treat_sigterm_as_interrupt
from orchestrator.settings.compose import Composer, opened

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from orchestrator.search.rounds import Search

# Read when Ray and MLflow are imported.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line and return the exit code.

    Args:
        arguments: What follows ``python -m orchestrator``.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    treat_sigterm_as_interrupt()
    try:
        return _carry_out(arguments)
    except (DLNError, KeyboardInterrupt, SystemExit) as error:
        return _report_error(error)
    except BaseExceptionGroup as group:
        known = [error for error in _leaves(group) if isinstance(error, DLNError)]
        ends = (KeyboardInterrupt, SystemExit)
        interrupts = [error for error in _leaves(group) if isinstance(error, ends)]
        if not (known or interrupts):
            raise
        return _report_error((interrupts or known)[0])


def _carry_out(arguments: Sequence[str]) -> int:
    parser = get_args_parser()
    options = _read_flags(parser, arguments)
    _refuse_unsupported(options)
    composer = Composer()
    if options.shell_completion:
        return _show(composer, parser, options)
    configs = composer.compose(options.overrides, multirun=options.multirun)
    if options.help or options.hydra_help or options.cfg or options.info:
        return _show(composer, parser, options)

    # They bring numpy and templates along, which --help and most mistakes need not pay for.
    from orchestrator.planning.plan import make_plan
    from orchestrator.search.rounds import Search

    if configs and configs[0].search.kind != "grid":
        compose = partial(composer.compose, options.overrides, multirun=options.multirun)
        return _act_on_search(Search(compose))
    return _act(make_plan(configs))


def _act_on_search(search: Search) -> int:
    from orchestrator.terminal.console import choose_output, say

    action = search.plan.run.action
    if action == "run":
        choose_output(search.plan.run.output)
        _note_other_trials(search.plan)
        exit_code = search.run()
        return _end(search.plan, exit_code)
    code = _act(search.plan)
    if action == "plan":
        say(search.outlook())
    elif action == "report":
        say(search.verdict())
    return code


def _act(plan: Plan) -> int:
    from orchestrator.terminal.console import choose_output

    choose_output(plan.run.output)
    match plan.run.action:
        case "plan":
            from orchestrator.planning.past import with_past
            from orchestrator.planning.plan_table import print_plan

            corrected = with_past(plan)
            print_plan(corrected)
            return _record_plan(corrected)
        case "pretest":
            import anyio

            from orchestrator.pretest import run_pretest

            return anyio.run(run_pretest, plan)
        case "render":
            from orchestrator.render import print_requests

            print_requests(plan)
            return 0
        case "report":
            from orchestrator.results import report

            return report(plan)
        case "calls":
            from orchestrator.calls import show_calls

            return show_calls(plan)
        case "sync":
            from orchestrator.tracking import sync

            return sync(plan)
        case _:
            import anyio

            from orchestrator.scheduler import run_plan

            _note_other_trials(plan)
            return _end(plan, anyio.run(run_plan, plan))


def _end(plan: Plan, exit_code: int) -> int:
    """Tell machines that a run has ended, and how."""
    from orchestrator.terminal.json_lines import write_end

    if plan.run.output == "json":
        write_end(plan, exit_code)
    return exit_code


def _note_other_trials(plan: Plan) -> None:
    """Say that a folder holds more than what is run: seeds may be added, or the wrong folder given.

    Raises:
        JournalError: If the folder cannot be read.
    """
    from orchestrator.journal import Journal

    others = Journal(plan.out_dir).trials_beside([trial.trial_id for trial in plan.trials])
    if others:
        _say(
            f"note: {plan.out_dir} holds {len(others)} trial(s) that this command does not plan; "
            "results and report will show the planned ones alone"
        )


def _record_plan(plan: Plan) -> int:
    from orchestrator.journal import Journal
    from orchestrator.planning.plan import write_plan
    from orchestrator.terminal.console import say

    try:
        with Journal.locked(plan.out_dir):
            write_plan(plan)
    except JournalError as error:
        _say(f"note: plan.json was not written: {error}")
    else:
        say(f"Recorded in {plan.out_dir}.")
    return 0


def _show(composer: Composer, parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Leave ``--help``, ``--cfg``, ``--info`` and shell completion to Hydra."""
    options.overrides = opened(options.overrides)
    try:
        _run_hydra(
            args=options,
            args_parser=parser,
            task_function=_no_task,
            config_path=str(composer.config_dir),
            config_name="config",
        )
    except ValueError as error:
        raise ConfigError(f"these flags do not go together: {error}") from error
    except SystemExit as stop:
        return ConfigError.exit_code if stop.code else 0
    return 0


def _no_task(_config: DictConfig) -> None:
    """Stand where Hydra wants a program to run; it only shows things here."""


def _read_flags(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    parser.exit_on_error = False
    try:
        # Hydra's own call stops at the first flag: `task=triage -m seed=1,2` would be refused.
        options, unknown = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; --help shows how a command is written") from error
    if unknown:
        raise ConfigError(
            f"{unknown[0]} is no flag; settings are written key=value, without dashes "
            "(--help lists all)"
        )
    return options


def _refuse_unsupported(options: argparse.Namespace) -> None:
    for name in ("config_path", "config_name", "config_dir", "experimental_rerun"):
        if getattr(options, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag} is not supported; put files of your own into conf/ or sweeps/ of the "
                "folder that you work in"
            )


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _report_error(error: BaseException) -> int:
    if isinstance(error, DLNError):
        _say(f"error: {error}")
        return error.exit_code
    if isinstance(error, SystemExit):  # of rich, once nobody reads what is printed
        _say("error: the output could not be written; the same command goes on")
        return 1
    _say("interrupted; the same command goes on from here")
    return INTERRUPTED


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
