"""Reference points on a task's own test items: what needs no training.

They are computed once for a (task, split, model) and stand beside every trained network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio.to_thread

from dln_core.building import build_network, random_shots
from dln_core.calibration import calibrated
from dln_core.config import LayerConfig, NetworkConfig, TrialSettings
from dln_core.evaluation import evaluate
from dln_core.llm.base import LanguageModel
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.network import Network
from dln_core.stats import wilson_interval
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trial import Services
from dln_core.types import Example, Role

NUM_SHOTS = 8
SHOTS_SEED = 0


async def run_baselines(settings: TrialSettings, services: Services) -> list[dict[str, Any]]:
    """Measure the reference points of one task with one model.

    Returns:
        A row each: ``majority`` class of the training split; the ``initial`` prompt; the same with
        ``initial_calibrated`` labels; ``few_shot`` with random worked examples.  Tasks without
        labels have neither the first nor the calibrated row.

    Raises:
        DLNError: If the data or the endpoint cannot be used.
    """
    task = await anyio.to_thread.run_sync(load_task, settings.task, settings.data)
    ledger = Ledger()
    async with (
        open_stores(services.cache, services.store) as stores,
        connect(
            settings.llm,
            rung=settings.scoring.rung,
            limits=services.limits,
            share=services.share,
            stores=stores,
            ledgers=[ledger],
        ) as connection,
    ):
        rows = await _measure(task, connection)
    usage = {"usage": ledger.usage(), "cost_usd": ledger.cost_usd}
    return [{"task": task.name, "model": settings.llm.model} | row | usage for row in rows]


async def _measure(task: Task, connection: Connection) -> list[dict[str, Any]]:
    model, rows = connection.model, list[dict[str, Any]]()
    if task.is_classification:
        rows.append(_majority(task))
    if not connection.route.gives_labels:
        task = task.without_label_scores()
    initial = _one_layer(task, shots=())
    rows.append(await _tested("initial", initial, task, model))
    if task.is_classification:
        unbiased = await calibrated(initial, model, task.splits.train, Role.test)
        rows.append(await _tested("initial_calibrated", unbiased, task, model))
    shots = random_shots(task, min(NUM_SHOTS, len(task.splits.train)), SHOTS_SEED)
    rows.append(await _tested("few_shot", _one_layer(task, shots), task, model))
    return rows


def _majority(task: Task) -> dict[str, Any]:
    counted = Counter(example.target for example in task.splits.train)
    # Of equally frequent answers the first by name, so that the choice is always the same.
    answer = min(counted, key=lambda target: (-counted[target], target))
    answers = [(e, answer, task.judge(answer, e.target)) for e in task.splits.test]
    return _row("majority", answers)


async def _tested(name: str, network: Network, task: Task, model: LanguageModel) -> dict[str, Any]:
    predictions = await evaluate(network, model, task, task.splits.test, role=Role.test)
    return _row(name, [(p.example, p.trace.prediction, p.is_correct) for p in predictions])


def _one_layer(task: Task, shots: Sequence[Example]) -> Network:
    config = NetworkConfig(name="baseline", layers=[LayerConfig(trained=False)])
    return build_network(config, task, shots)


def _row(name: str, answers: Sequence[tuple[Example, str, bool]]) -> dict[str, Any]:
    num_correct = sum(is_correct for _, _, is_correct in answers)
    low, high = wilson_interval(num_correct, len(answers))
    return {
        "baseline": name,
        "num_items": len(answers),
        "num_correct": num_correct,
        "accuracy": num_correct / len(answers),
        "low": low,
        "high": high,
        "predictions": [
            {"id": e.id, "target": e.target, "prediction": answer, "correct": is_correct}
            for e, answer, is_correct in answers
        ],
    }
