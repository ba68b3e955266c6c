"""The fixed networks that reference points are made with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

import yaml

from dln_core.building import build_network, random_shots
from dln_core.config import LayerConfig, NetworkConfig
from dln_core.network import Network
from dln_core.tasks.task import Task
from dln_core.types import Example

NUM_SHOTS = 8
THOUGHTS_TOKENS = 128
_SHOTS_SEED = 0


@dataclass(frozen=True, slots=True)
class Wording:
    """The fixed texts of reference points.

    Attributes:
        cot: What the layer that thinks is told.
        handwritten: Ways to phrase a task by name; ``{instruction}`` stands for the task's.
    """

    cot: str
    handwritten: dict[str, str]


@functools.cache
def wording() -> Wording:
    """Read the texts."""
    text = resources.files("dln_core.baselines").joinpath("wording.yaml").read_text("utf-8")
    return Wording(**yaml.safe_load(text))


def networks_of(baseline: str, task: Task) -> dict[str, Network]:
    """Make the networks of a reference point, by the names of their rows.

    Args:
        baseline: Any that asks a language model: all but ``majority``.
        task: Gives the instruction and the worked examples.
    """
    match baseline:
        case "handwritten":
            phrased = {
                name: replace(task, instruction=text.replace("{instruction}", task.instruction))
                for name, text in wording().handwritten.items()
            }
            return {f"handwritten_{name}": _one_layer(other) for name, other in phrased.items()}
        case "few_shot":
            shots = random_shots(task, min(NUM_SHOTS, len(task.splits.train)), _SHOTS_SEED)
            return {baseline: _one_layer(task, shots)}
        case "kate":
            nearest = NetworkConfig(
                name="baseline",
                layers=[LayerConfig(trained=False)],
                num_shots=NUM_SHOTS,
                shots="nearest",
            )
            return {baseline: build_network(nearest, task, task.splits.train)}
        case "cot":
            return {baseline: build_network(_chain_of_thought(), task)}
    return {baseline: _one_layer(task)}


def _one_layer(task: Task, shots: Sequence[Example] = ()) -> Network:
    config = NetworkConfig(name="baseline", layers=[LayerConfig(trained=False)])
    return build_network(config, task, shots)


def _chain_of_thought() -> NetworkConfig:
    thoughts = LayerConfig(
        name="thoughts",
        template="hidden",
        instruction=wording().cot,
        trained=False,
        max_tokens=THOUGHTS_TOKENS,
    )
    answer = LayerConfig(reads=["input", "thoughts"], trained=False)
    return NetworkConfig(name="baseline", layers=[thoughts, answer])
