"""A pretest: prompts that matter are seen to, on dev alone, and its answers are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dln_core
from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    PretestConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.errors import BudgetError, ConfigError
from dln_core.llm.allowance import Allowance, Amount
from dln_core.llm.ledger import Ledger
from dln_core.pretest import HIDDEN_PHRASINGS, pretest
from dln_core.trial import Services

CONFIG = PretestConfig(num_examples=12, num_prompts=4)
HANDWRITTEN = ["brief", "careful", "expert"]
DLN2 = NetworkConfig(
    name="dln2",
    layers=[
        LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=16),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)


def settings(**changes: object) -> TrialSettings:
    base = TrialSettings(
        task=TaskConfig(name="triage"),
        data=DataConfig(max_dev=20, max_test=20),
        trainer=TrainerConfig(batch_size=4, num_iterations=1, num_hidden=2),
        llm=LLMConfig(provider="simulated", model="simulated"),
    )
    return replace(base, **changes)


def services(folder: Path) -> Services:
    return Services(cache=CacheConfig(mode="off", dir=str(folder)))


async def pretested(folder: Path, **changes: object) -> dict[str, Any]:
    return await pretest(settings(**changes), services(folder), CONFIG)


async def test_one_layer_is_tried_with_handwritten_and_proposed_prompts(tmp_path: Path) -> None:
    found = await pretested(tmp_path)
    rows = found["prompts"]
    names = [row["name"] for row in rows]
    assert names[:4] == ["initial", *HANDWRITTEN]
    assert len(names) > 4
    assert found["num_examples"] == 12
    assert found["interaction"] is None
    for row in rows:
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["num_items"] == 12
    assert found["gain"]["low"] <= found["gain"]["mean"] <= found["gain"]["high"]
    assert await pretested(tmp_path / "again") == found


async def test_only_dev_and_training_examples_are_asked_for(tmp_path: Path) -> None:
    found = await pretested(tmp_path, network=DLN2)
    assert set(found["usage"]) == {"dev", "forward", "posterior", "proposal"}


async def test_the_prompts_of_two_layers_are_crossed(tmp_path: Path) -> None:
    found = await pretested(tmp_path, network=DLN2)
    by_layer: dict[str | None, list[str]] = {}
    for row in found["prompts"]:
        by_layer.setdefault(row["layer"], []).append(row["name"])
    assert by_layer[None] == ["initial"]
    assert by_layer["thoughts"][:3] == list(HIDDEN_PHRASINGS)
    assert by_layer["output"][:3] == HANDWRITTEN
    crossed = found["interaction"]
    assert crossed["layers"] == ["thoughts", "output"]
    for names, layer in zip(crossed["names"], crossed["layers"], strict=True):
        assert names[0] == "initial"
        assert set(names[1:]) <= set(by_layer[layer])
    first, last = (
        names.index(one) for names, one in zip(crossed["names"], crossed["strongest"], strict=True)
    )
    cells = crossed["accuracy"]
    contrast = cells[first][last] - cells[first][0] - cells[0][last] + cells[0][0]
    assert crossed["mean"] == pytest.approx(contrast)
    assert cells[0][0] == found["prompts"][0]["accuracy"]


async def test_a_network_that_is_not_trained_gets_no_proposals(tmp_path: Path) -> None:
    found = await pretested(tmp_path, network=NetworkConfig(layers=[LayerConfig(trained=False)]))
    assert [row["name"] for row in found["prompts"]] == ["initial", *HANDWRITTEN]
    assert set(found["usage"]) == {"dev"}


async def test_a_trial_after_it_does_not_pay_for_the_same_answers_again(tmp_path: Path) -> None:
    async def paid_at_the_start() -> int:
        events: list[dict[str, Any]] = []
        await dln_core.train(settings(), services=services(tmp_path), on_event=events.append)
        return int(events[0]["usage"]["dev"]["paid_calls"])

    await pretested(tmp_path)
    assert await paid_at_the_start() == 20 - 12


async def test_proposals_that_cannot_be_tried_are_counted(tmp_path: Path) -> None:
    found = await pretested(tmp_path)
    num_tried = sum(row["name"] not in ("initial", *HANDWRITTEN) for row in found["prompts"])
    assert num_tried + sum(found["refused"].values()) == CONFIG.num_prompts


async def test_a_ledger_counts_the_calls_of_all_pretests(tmp_path: Path) -> None:
    ledger = Ledger()
    first, second = [
        await pretest(settings(), services(tmp_path), CONFIG, ledger=ledger) for _ in range(2)
    ]
    both = [one for found in (first, second) for one in found["usage"].values()]
    assert ledger.totals().calls == sum(one["calls"] for one in both)
    assert ledger.totals().paid_calls == sum(one["paid_calls"] for one in both)


async def test_an_allowance_ends_it_before_its_tokens_are_exceeded(tmp_path: Path) -> None:
    ledger = Ledger(allowance=Allowance(Amount(2_000, 1.0)))
    with pytest.raises(BudgetError):
        await pretest(settings(), services(tmp_path), CONFIG, ledger=ledger)
    totals = ledger.totals()
    assert 0 < totals.prompt_tokens + totals.completion_tokens <= 2_000


async def test_the_judge_is_held_back_too(tmp_path: Path) -> None:
    ledger = Ledger()
    judged = settings(task=TaskConfig(name="triage", judge="llm"))
    found = await pretest(judged, services(tmp_path), CONFIG, ledger=ledger)
    assert found["usage"]["judge"] == ledger.usage()["judge"]


@pytest.mark.parametrize(("key", "value"), [("num_examples", 7), ("num_prompts", -1)])
def test_a_pretest_of_nothing_is_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"pretest\.{key}={value}"):
        PretestConfig(**{key: value})
