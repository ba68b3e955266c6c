"""A model that refuses some requests, and a batch to train on it."""

from __future__ import annotations

from dataclasses import replace

from dln_core.batches import Batch
from dln_core.config import ProposalConfig, ProposalMix, TrainerConfig
from dln_core.errors import RequestError
from dln_core.llm.base import ScoreRequest
from dln_core.llm.simulated import SimulatedModel
from tests.trainers import trainer_of
from tests.worlds import parity_task

TASK = parity_task()
TRAIN = TASK.splits.train
BATCH = Batch(TRAIN[:6], TRAIN[6:10], TRAIN[10:20])


class Refusing:
    """A model that refuses some requests.

    Args:
        world: A world or a model that answers the others.
        rule: Says for a request and all its text whether it is refused, or in which words.
        error: What a refusal is.
    """

    def __init__(self, world, rule, error=RequestError):
        self.inner = world if hasattr(world, "send") else SimulatedModel(world)
        self.rule, self.error = rule, error

    async def send(self, request):
        targets = request.targets if isinstance(request, ScoreRequest) else ()
        text = "\n".join([*(message.text for message in request.messages), *targets])
        said = self.rule(request, text)
        if said:
            raise self.error(said if isinstance(said, str) else "filtered")
        return await self.inner.send(request)


def naming(*examples):
    """A rule that refuses what names one of the examples."""

    def rule(request, text):
        named = [e.input for e in examples if f"{e.input}\n" in f"{text}\n"]
        return f"no word of {named[0]}" if named else ""

    return rule


def trainer(model, **settings):
    values = {
        "num_iterations": 4,
        "num_prompts": 24,
        "num_hidden": 4,
        "validate_every": 0,
        "proposal": ProposalConfig(mix=ProposalMix(examples=0.0)),
    }
    return trainer_of(model, TASK, TrainerConfig(**(values | settings)))


def without(example):
    """The batch without an example."""
    return replace(
        BATCH,
        ranked=tuple(e for e in BATCH.ranked if e != example),
        cases=tuple(e for e in BATCH.cases if e != example),
    )
