"""Networks of every shape, and the small settings whose cost the tests know."""

from __future__ import annotations

from dataclasses import replace

from dln_core.config import (
    GuideConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    ProposalConfig,
    ProposalMix,
    SelectionConfig,
    TrainerConfig,
    TrialSettings,
)
from orchestrator.planning.call_costs import measure
from tests.worlds import parity_task

TASK = parity_task(num_train=100, num_dev=10, num_test=20)
SIZE = measure(TASK)
SIMULATED = LLMConfig(provider="simulated", model="simulated")
TRAINER = TrainerConfig(
    num_iterations=3,
    batch_size=5,
    num_prompts=6,
    num_hidden=4,
    validate_every=2,
    selection=SelectionConfig(memory=1),
    guide=GuideConfig(include_forward=False),
    proposal=ProposalConfig(num_cases=2, mix=ProposalMix(rewrite=0.5, examples=0.5)),
)


def hidden(name: str, **settings: object) -> LayerConfig:
    values = {"template": "hidden", "instruction": "Think.", "max_tokens": 64}
    return LayerConfig(name=name, **(values | settings))


DLN1 = NetworkConfig(layers=[LayerConfig()])
DLN2 = NetworkConfig(
    name="dln2", layers=[hidden("thoughts"), LayerConfig(reads=["input", "thoughts"])]
)
DLN3 = NetworkConfig(
    name="dln3",
    layers=[
        hidden("plan"),
        hidden("thoughts", reads=["input", "plan"]),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)
ENSEMBLE = NetworkConfig(
    name="ensemble", layers=[LayerConfig(width=3, shares_prompt=False, join="vote")]
)
WIDE = NetworkConfig(
    name="wide",
    layers=[
        hidden("thoughts", width=2, temperature=0.7, join="concatenate"),
        LayerConfig(reads=["input", "thoughts"]),
    ],
)
TOOLS = NetworkConfig(
    name="tools",
    layers=[
        hidden("thought"),
        LayerConfig(name="observation", tools=["calculator"]),
        LayerConfig(reads=["input", "thought", "observation"]),
    ],
)
NETWORKS = [DLN1, DLN2, DLN3, ENSEMBLE, WIDE, TOOLS]


def settings(network: NetworkConfig = DLN1, **changes: object) -> TrialSettings:
    return replace(TrialSettings(network=network, trainer=TRAINER, llm=SIMULATED), **changes)
