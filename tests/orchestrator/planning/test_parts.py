"""What a budget sets aside for a trial covers its validation and its test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import dln_core
from dln_core.config import CacheConfig, LayerConfig, NetworkConfig, ScoringConfig, TaskConfig
from dln_core.trial import Services
from orchestrator.accounts import Account, Scope
from orchestrator.settings.schema import BoundsConfig
from orchestrator.summary import tokens_of
from tests.orchestrator.planning.test_estimate_ranges import ZERO_SHOT, planned

THOUGHTS = LayerConfig(name="thoughts", template="hidden", trained=False, max_tokens=64)
ANSWER = LayerConfig(reads=["input", "thoughts"], trained=False)
COT = NetworkConfig(name="cot", layers=[THOUGHTS, ANSWER])


@pytest.mark.parametrize("rung", ["auto", "monte_carlo"])
@pytest.mark.parametrize("task", ["triage", "routing"])
@pytest.mark.parametrize("network", [ZERO_SHOT, COT], ids=lambda network: network.name)
async def test_an_untrained_network_takes_no_more_than_is_set_aside(
    network: NetworkConfig, task: str, rung: str, tmp_path: Path
) -> None:
    _, trial = planned(
        network=network, task=TaskConfig(name=task), scoring=ScoringConfig(rung=rung)
    )
    used: Counter[str] = Counter()

    def record(event: dict[str, object]) -> None:
        used["tokens"] += tokens_of(event)

    services = Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))
    await dln_core.train(trial.settings, services=services, on_event=record)
    account = Account(Scope("", BoundsConfig()), trial.parts, is_trained=False)
    assert 0 < used["tokens"] <= account.reserve.tokens
    # Not so much more that a budget which suffices would be refused.
    assert account.reserve.tokens < 4 * used["tokens"]
