"""A pretest: whether prompts matter for a task and a network, before their training is paid for.

The initial prompt, handwritten ones and some that the model proposes answer a few dev examples.
Proposals are made as in a first step of training, from training examples alone; the test split is
not looked at.  Where several layers are trained, prompts of the first and the last are crossed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import anyio.to_thread
import numpy as np

from dln_core.baselines.networks import wording
from dln_core.building import initial_network
from dln_core.calibration import calibrated
from dln_core.concurrency import map_bounded
from dln_core.config import PretestConfig, TrialSettings
from dln_core.evaluation import Prediction, evaluate, tested
from dln_core.headroom import gain, interaction
from dln_core.llm.ledger import Ledger
from dln_core.network import Network
from dln_core.randomness import Choice, generator
from dln_core.tasks.task import Task
from dln_core.trainer import Trainer
from dln_core.trial import Services, Trial
from dln_core.types import Prompt, Role
from dln_core.vi.weights import Array

# Usual ways to phrase what a hidden layer is told; those of the answer are the reference points'.
HIDDEN_PHRASINGS = {
    "brief": "{instruction}\nKeep it to one sentence.",
    "careful": "{instruction}\nGo through every part of the input; leave nothing out that matters.",
    "doubtful": "{instruction}\nSay what speaks for and what speaks against each possible answer.",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """A prompt for one layer.

    Attributes:
        layer: Index of the layer.
        name: ``initial``, the name of a handwritten phrasing, or the kind of a proposal.
        prompt: The prompt; None leaves the layer as it is.
    """

    layer: int
    name: str
    prompt: Prompt | None = None

    def within(self, network: Network) -> Network:
        """Give every copy of the layer this prompt."""
        if self.prompt is None:
            return network
        for slot in network.slots:
            if slot.layer == self.layer:
                network = network.with_prompt(slot, self.prompt)
        return network


async def pretest(
    settings: TrialSettings,
    services: Services,
    config: PretestConfig | None = None,
    *,
    task: Task | None = None,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Ask whether prompts matter for one task and network.

    Args:
        settings: The trial that is thought of.
        services: How calls are carried out; a trial with the same store need not pay again for
            requests that it shares.
        config: How much is looked at.
        task: Stands for the task that the settings name.
        ledger: Counts the calls too; if it has an allowance, they are kept within it.

    Returns:
        JSON values: ``task``, ``network``, ``model``, ``rung``, ``metric``, ``num_examples``; under
        ``prompts`` a row a prompt with ``layer`` (None for the initial network), ``name``,
        ``instruction`` (None for several initial ones), ``num_demonstrations``, ``accuracy`` and
        its 95 % interval ``low``, ``high``; under ``refused`` how many proposals could not be tried
        for which reason; ``gain`` of the best other prompt over the initial one and the layers'
        ``interaction`` (None for a single layer), see ``dln_core.headroom``; ``usage`` and
        ``cost_usd``.

    Raises:
        BudgetError: If the allowance is used up; alone or in a group.
        ConfigError: If settings are wrong or do not fit the data.
        DataError: If the task's data is missing.
        LLMError: If a model cannot be reached or fails.
    """
    config = config or PretestConfig()
    proposing = replace(settings.trainer, num_prompts=max(1, config.num_prompts))
    opening = Trial.open(
        replace(settings, trainer=proposing),
        services,
        task=task,
        ledgers=[ledger] if ledger else [],
    )
    async with opening as trial:
        figures = await _Pretest(trial.trainer, config).measure(settings)
        totals = {"usage": trial.usage, "cost_usd": trial.progress()["cost_usd"]}
        model = {"model": settings.llm.model, "rung": trial.rung}
    return figures | model | totals


class _Pretest:
    """The measurements of one pretest.

    Args:
        trainer: Its task, models and judge are used.
        config: How much is looked at.
    """

    def __init__(self, trainer: Trainer, config: PretestConfig) -> None:
        self._trainer = trainer
        self._config = config
        dev = trainer.task.splits.dev
        order = generator(trainer.seed, 0, Choice.pretest).permutation(len(dev))
        self._examples = [dev[position] for position in order[: config.num_examples]]

    async def measure(self, settings: TrialSettings) -> dict[str, Any]:
        network = initial_network(settings, self._trainer.task)
        await anyio.to_thread.run_sync(network.prepare)
        wordings = _handwritten(network)
        refused: Counter[str] = Counter()
        if self._config.num_prompts and settings.network.is_trained:
            proposed, refused = await self._proposed(network)
            wordings += proposed
        alone = [Wording(len(network.layers) - 1, "initial"), *wordings]
        rows, values = await self._answered([each.within(network) for each in alone])
        crossed = await self._crossed(network, wordings)
        return {
            "task": self._trainer.task.name,
            "network": network.name,
            "metric": self._trainer.task.metric,
            "num_examples": len(self._examples),
            "prompts": [
                _described(each, network) | row for each, row in zip(alone, rows, strict=True)
            ],
            "refused": dict(refused),
            "gain": asdict(gain(values)),
            "interaction": crossed,
        }

    async def _proposed(self, network: Network) -> tuple[list[Wording], Counter[str]]:
        """The model's proposals, and how many could not be tried for which reason."""
        by_slot = await self._trainer.propose(network)
        wordings, refused = list[Wording](), Counter[str]()
        for slot, proposed in by_slot.items():
            # Copies with prompts of their own would make one layer many.
            if slot.prompt == 0:
                refused.update(proposed.refused)
                wordings += [
                    Wording(slot.layer, f"{candidate.source} {number}", candidate.prompt)
                    for number, candidate in enumerate(proposed.candidates, start=1)
                ]
        return wordings, refused

    async def _answered(self, networks: Sequence[Network]) -> tuple[list[dict[str, Any]], Array]:
        """Let networks answer the examples: figures of each, and P x n values of the answers."""
        predictions = await map_bounded(self._predictions, networks)
        rows = [
            await anyio.to_thread.run_sync(tested, each, self._trainer.task.metric)
            for each in predictions
        ]
        values = [[one.verdict.worth for one in each] for each in predictions]
        return rows, np.array(values, dtype=float)

    async def _predictions(self, network: Network) -> list[Prediction]:
        trainer = self._trainer
        if trainer.calibrates:
            train = trainer.task.splits.train
            network, _ = await calibrated(network, trainer.forward_model, train, Role.dev)
        return await evaluate(
            network, trainer.forward_model, trainer.task, self._examples, role=Role.dev
        )

    async def _crossed(
        self, network: Network, wordings: Sequence[Wording]
    ) -> dict[str, Any] | None:
        layers = sorted({each.layer for each in wordings})
        if len(layers) < 2:
            return None
        first, last = (_levels(layer, wordings) for layer in (layers[0], layers[-1]))
        cells = [two.within(one.within(network)) for one in first for two in last]
        rows, values = await self._answered(cells)
        shape = (len(first), len(last))
        found = interaction(values.reshape(*shape, -1))
        return {
            "layers": [network.layers[layer].name for layer in (layers[0], layers[-1])],
            "names": [[each.name for each in levels] for levels in (first, last)],
            "accuracy": np.reshape([row["accuracy"] for row in rows], shape).tolist(),
            "strongest": [first[found.first].name, last[found.last].name],
            **asdict(found.contrast),
        }


def _handwritten(network: Network) -> list[Wording]:
    """The usual phrasings of every layer that is trained; of the answer, if none is."""
    layers = [index for index, layer in enumerate(network.layers) if layer.trained]
    answering = len(network.layers) - 1
    return [
        Wording(layer, name, replace(prompt, instruction=text))
        for layer in layers or [answering]
        for prompt in [network.writer_layer(layer).prompt]
        for name, phrasing in _phrasings(layer == answering).items()
        for text in [phrasing.replace("{instruction}", prompt.instruction)]
    ]


def _phrasings(is_answering: bool) -> dict[str, str]:
    return wording().handwritten if is_answering else HIDDEN_PHRASINGS


def _levels(layer: int, wordings: Sequence[Wording]) -> list[Wording]:
    """What a layer is crossed with: its initial prompt, a handwritten one and a proposed one."""
    own = [each for each in wordings if each.layer == layer]
    # Chosen before any answer is seen: the first and the last of the list.
    return [Wording(layer, "initial"), own[0], own[-1]]


def _described(wording: Wording, network: Network) -> dict[str, Any]:
    layer = network.writer_layer(wording.layer)
    prompt = wording.prompt or layer.prompt
    return {
        "layer": layer.name if wording.prompt else None,
        "name": wording.name,
        "instruction": prompt.instruction if wording.prompt or len(network.layers) == 1 else None,
        "num_demonstrations": len(prompt.demonstrations),
    }
