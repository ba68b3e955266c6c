"""Toys for the orchestrator's tests: plans of the simulated model and events made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
)
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.settings.schema import RunConfig, TrackingConfig
from orchestrator.terminal.console import console

MakePlan = Callable[..., Plan]
MakeEvent = Callable[..., dict[str, Any]]

PROMPT = {"instruction": "Say Urgent or Normal.", "demonstrations": []}
NETWORK = {"name": "dln1", "layers": [{"name": "output", "width": 1, "prompts": [PROMPT]}]}
USAGE = {
    "calls": 10,
    "prompt_tokens": 200,
    "completion_tokens": 20,
    "paid_calls": 4,
    "paid_prompt_tokens": 80,
    "paid_completion_tokens": 8,
}


@pytest.fixture(autouse=True)
def own_console() -> Iterator[None]:
    """Let no test leave the console writing to a stream that is closed with it."""
    yield
    console.file = None  # type: ignore[assignment]


@pytest.fixture
def toy_plan(tmp_path: Path) -> MakePlan:
    """Make a plan of one-layer trials, one a seed; ``run`` settings can be replaced."""

    def make(*seeds: int, trained: bool = True, **run: Any) -> Plan:
        run.setdefault("llm", LLMConfig(provider="simulated", model="simulated"))
        run.setdefault("trainer", TrainerConfig(num_iterations=2, batch_size=6, num_prompts=4))
        run.setdefault("tracking", TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db"))
        configs = [
            RunConfig(
                task=TaskConfig(name="triage"),
                network=NetworkConfig(name="dln1", layers=[LayerConfig(trained=trained)]),
                data=DataConfig(max_dev=8, max_test=12),
                cache=CacheConfig(dir=str(tmp_path / "cache")),
                seed=seed,
                sweep="toy",
                out_dir=str(tmp_path / "out"),
                **run,
            )
            for seed in seeds or (13,)
        ]
        return make_plan(configs)

    return make


@pytest.fixture
def toy_event() -> MakeEvent:
    """Make the event of a step; step 0 starts a trial, ``kind`` and other parts can be replaced."""

    def make(step: int, *, epoch: int = 1, **parts: Any) -> dict[str, Any]:
        event: dict[str, Any] = {
            "kind": "start" if step == 0 else "step",
            "step": step,
            "epoch": epoch,
            "time": 1_700_000_000.0 + step,
            "metrics": {"dev/accuracy": 0.5 + 0.1 * step, "train/elbo": -3.0 + step},
            "network": NETWORK,
            "candidates": [],
            "usage": {"score": USAGE},
            "cost_usd": 0.25,
            "seconds": 2.0,
            "rung": "score",
            "api": "chat",
            "best": {"dev_accuracy": 0.5 + 0.1 * step, "step": step},
        }
        if parts.get("kind") == "finish":
            event |= {
                "best_network": NETWORK,
                "predictions": [
                    {"id": "a", "target": "x", "prediction": "x", "correct": True},
                    {"id": "b", "target": "x", "prediction": "y", "correct": False},
                ],
                "test": {
                    "num_items": 2,
                    "num_correct": 1,
                    "accuracy": 0.5,
                    "low": 0.1,
                    "high": 0.9,
                },
                "stopped": None,
            }
        return event | parts

    return make
