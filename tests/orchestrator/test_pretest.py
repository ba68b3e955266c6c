"""``action=pretest``: a table, what it means, and a record."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli


def command(folder: Path, *more: str) -> list[str]:
    """The pretest of two small networks."""
    return [
        "+sweep=smoke",
        "network=dln1,dln2",
        "action=pretest",
        f"out_dir={folder / 'out'}",
        f"cache.dir={folder / 'cache'}",
        *more,
    ]


def recorded(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "out" / "pretest.json").read_text())
    return found


def test_each_task_and_network_is_pretested_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(tmp_path)) == 0
    found = recorded(tmp_path)
    assert [one["network"] for one in found] == ["dln1", "dln2"]
    printed = capsys.readouterr().out
    assert "triage dln2: accuracy in percent on 12 dev examples" in printed
    assert "pretest 2 of 2: triage dln2, asking simulated" in printed
    assert "12 examples do not tell whether prompts matter; raise data.max_dev" in printed
    assert "The prompts of thoughts and output interact most" in printed
    paid = sum(counts["paid_calls"] for one in found for counts in one["usage"].values())
    assert f"of which {paid:,} were sent" in printed
    assert cli.main(command(tmp_path)) == 0
    assert "of which 0 were sent" in capsys.readouterr().out


def test_wrong_settings_are_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["action=pretest", "llm=simulated", "pretest.num_examples=3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: pretest.num_examples=3 tells nothing")
    assert error.count("\n") == 1


def test_a_budget_of_tokens_keeps_what_was_done_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(tmp_path)) == 0
    whole = recorded(tmp_path)
    of_first, of_second = (
        sum(each["prompt_tokens"] + each["completion_tokens"] for each in one["usage"].values())
        for one in whole
    )
    capsys.readouterr()
    bound = of_first + of_second // 2
    assert cli.main(command(tmp_path, f"budget.max_tokens={bound}")) == 1
    assert [one["network"] for one in recorded(tmp_path)] == ["dln1"]
    said = capsys.readouterr()
    assert "triage dln1: accuracy" in said.out
    assert said.err == (
        f"error: budget.max_tokens={bound:g} does not leave what the next call needs, after 1 of 2 "
        "pretests; the same command with a larger budget goes on, and pays for no stored answer "
        "again\n"
    )
    assert cli.main(command(tmp_path, f"budget.max_tokens={10 * bound}")) == 0
    assert [one["prompts"] for one in recorded(tmp_path)] == [one["prompts"] for one in whole]


@pytest.mark.parametrize(
    ("bounds", "named"),
    [
        (["budget.max_cost_usd=0.01"], "budget.max_cost_usd=0.01"),
        (["budget.max_seconds=0.001", "budget.max_tokens=9000"], "budget.max_seconds=0.001"),
        (
            ["budget.max_cost_usd=0.01", "budget.max_tokens=9000"],
            "budget.max_tokens=9000 or budget.max_cost_usd=0.01",
        ),
    ],
)
def test_money_and_time_are_bounded_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bounds: list[str], named: str
) -> None:
    dear = "llm.price.prompt_usd_per_million=1e4"
    assert cli.main(command(tmp_path, *bounds, dear)) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {named} does not leave what the next call needs, after 0 ")
    assert "calls, of which" in said.out
    assert not (tmp_path / "out" / "pretest.json").exists()


def test_money_cannot_be_bounded_where_the_price_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosted = ["llm=openai_compatible", "llm.base_url=http://127.0.0.1:9/v1", "llm.model=m"]
    assert cli.main(command(tmp_path, *hosted, "budget.max_cost_usd=1")) == 2
    assert "because the price of m is unknown" in capsys.readouterr().err


# The second pretest never ends; where two interrupts come, neither does its cleaning up.
STANDS_STILL = """
import signal, sys, anyio
from orchestrator import cli, pretest
signal.signal(signal.SIGINT, signal.default_int_handler)
measure, is_patient = pretest.pretest, sys.argv[1] == "2"
async def stand_still(settings, *args, **named):
    if settings.network.name == "dln1":
        return await measure(settings, *args, **named)
    try:
        print("STANDING STILL", flush=True)
        await anyio.sleep_forever()
    finally:
        print("CLEANING UP", flush=True)
        if is_patient:
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
pretest.pretest = stand_still
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("num_interrupts", [1, 2])
def test_an_interrupt_keeps_what_was_done_and_a_second_one_ends_it_at_once(
    tmp_path: Path, num_interrupts: int
) -> None:
    arguments = ["-c", STANDS_STILL, str(num_interrupts), *command(tmp_path)]
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for said in ["STANDING STILL\n", "CLEANING UP\n"][:num_interrupts]:
                assert said in iter(process.stdout.readline, "")
                process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.count("\n") == 1
    assert "the same command goes on from here" in error
    assert [one["network"] for one in recorded(tmp_path)] == ["dln1"]
