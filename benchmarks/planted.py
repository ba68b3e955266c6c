"""Tokens that the presets ``paper`` and ``fast`` take to find prompts that are known to be best.

Two simulated worlds, in which the best prompts are planted: one layer has to collect three useful
sentences out of a pool of thirty, two layers have to collect two of twenty for their hidden text.
Worked examples neither help nor harm there, so a preset that proposes some gains nothing by them.

Each line is over ten seeds, each with data of its own: the median of the tokens and calls until
the network that is best on dev has 95 % of the best reachable test accuracy (``never`` where most
seeds do not get there before the preset's last step), the share of seeds that get there, and the
mean test accuracy of the networks returned.  Test evaluations are not counted, nothing is cached,
and tokens are words.
Run from the root of the repository: ``python -m benchmarks.planted``; it takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import anyio
import yaml

from dln_core.building import build_network
from dln_core.config import NetworkConfig, PriceConfig, TrainerConfig
from dln_core.config.reading import config_from
from dln_core.evaluation import accuracy, evaluate
from dln_core.llm.ledger import Ledger, Metered
from dln_core.llm.simulated import SimulatedModel
from dln_core.network import Network
from dln_core.tasks.task import Task
from dln_core.types import Role
from tests.trainers import trainer_of
from tests.worlds import (
    HIDDEN_STEP,
    ONE_LAYER,
    SEVERAL_SENTENCES,
    TWO_LAYERS,
    Planted,
    best_prompts,
    parity_task,
)

PRESETS = Path(__file__).parents[1] / "conf" / "trainer"
SEEDS = range(10)
WORLDS = {
    "several sentences, one layer": (SEVERAL_SENTENCES, ONE_LAYER),
    "a hidden step, two layers": (HIDDEN_STEP, TWO_LAYERS),
}
ROW = "{:<30}{:<8}{:>12}{:>10}{:>10}{:>10}"
HEADINGS = ("world", "preset", "tokens", "calls", "reached", "accuracy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed took and gave; infinite tokens and calls where the optimum was not reached."""

    tokens: float
    calls: float
    accuracy: float


async def train(
    world: Planted, layers: NetworkConfig, settings: Mapping[str, Any], seed: int
) -> Outcome:
    """Train one network and see what it had taken when it was good enough."""
    task = parity_task(first=1000 * (seed + 1))
    unmetered, ledger = SimulatedModel(world), Ledger()
    model = Metered(unmetered, [ledger], PriceConfig())
    trainer = trainer_of(model, task, config_from(TrainerConfig, settings), seed)
    first = build_network(layers, task)
    enough = 0.95 * await _tested(best_prompts(world, first), unmetered, task)
    state = await trainer.initial_state(first)
    tokens = calls = math.inf
    # No later network could take the place of one that makes no mistake on dev.
    while not trainer.is_trained_out(state) and state.best.dev_accuracy < 1.0:
        state, _ = await trainer.step(state, trainer.draw_batch(state))
        reached = await _tested(state.best.network, unmetered, task)
        if reached >= enough and math.isinf(tokens):
            totals = ledger.totals()
            tokens, calls = totals.prompt_tokens + totals.completion_tokens, totals.calls
    return Outcome(tokens, calls, await _tested(state.best.network, unmetered, task))


async def _tested(network: Network, model: SimulatedModel, task: Task) -> float:
    return accuracy(await evaluate(network, model, task, task.splits.test, role=Role.test))


def row(world: str, preset: str, outcomes: Sequence[Outcome]) -> str:
    """Write one line of the table."""
    tokens = median(outcome.tokens for outcome in outcomes)
    calls = median(outcome.calls for outcome in outcomes)
    reached = mean(not math.isinf(outcome.tokens) for outcome in outcomes)
    return ROW.format(
        world,
        preset,
        "never" if math.isinf(tokens) else f"{tokens:,.0f}",
        "never" if math.isinf(calls) else f"{calls:,.0f}",
        f"{100 * reached:.0f} %",
        f"{100 * mean(outcome.accuracy for outcome in outcomes):.1f} %",
    )


async def main() -> None:
    """Print the table."""
    print(ROW.format(*HEADINGS))
    for name, (world, layers) in WORLDS.items():
        for preset in ("paper", "fast"):
            settings = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())
            outcomes = [await train(world, layers, settings, seed) for seed in SEEDS]
            print(row(name, preset, outcomes), flush=True)


if __name__ == "__main__":
    anyio.run(main)
