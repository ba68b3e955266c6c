"""Trainers on toy models, without endpoint, store or journal."""

from __future__ import annotations

from dln_core.building import build_network
from dln_core.config import ScoringConfig, TrainerConfig
from dln_core.llm.base import LanguageModel
from dln_core.proposals.guard import Guard
from dln_core.tasks.task import Task
from dln_core.trainer import Trainer


def trainer_of(
    model: LanguageModel, task: Task, config: TrainerConfig, seed: int = 13, **fields
) -> Trainer:
    """A trainer whose one model does everything."""
    return Trainer(
        task=task,
        config=config,
        forward_model=model,
        backward_model=model,
        guard=Guard.of(task.splits),
        seed=seed,
        **({"scoring": ScoringConfig()} | fields),
    )


async def train(trainer, network_config):
    """Train to the end; return the last state and what was recorded of each step."""
    state = await trainer.initial_state(build_network(network_config, trainer.task))
    infos = []
    while not trainer.is_trained_out(state):
        state, info = await trainer.step(state, trainer.draw_batch(state))
        infos.append(info)
    return state, infos


async def one_step(trainer, network_config, batch):
    """Make the first step on a batch."""
    state = await trainer.initial_state(build_network(network_config, trainer.task))
    return await trainer.step(state, batch)
