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
from dln_core.evaluation import Prediction, accuracy, evaluate, failed
from dln_core.failures import Failures, merged, reasons
from dln_core.llm.base import LanguageModel
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.network import Network
from dln_core.stats import wilson_interval
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trace import Trace
from dln_core.trial import Services
from dln_core.types import Example, Role
from dln_core.voting import Answer

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
            call_log=services.call_log,
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
        unbiased, refusals = await calibrated(initial, model, task.splits.train, Role.test)
        lost = {"train/failed_calibration": refusals}
        rows.append(await _tested("initial_calibrated", unbiased, task, model, lost))
    shots = random_shots(task, min(NUM_SHOTS, len(task.splits.train)), SHOTS_SEED)
    rows.append(await _tested("few_shot", _one_layer(task, shots), task, model))
    return rows


def _majority(task: Task) -> dict[str, Any]:
    counted = Counter(example.target for example in task.splits.train)
    # Of equally frequent answers the first by name, so that the choice is always the same.
    answer = min(counted, key=lambda target: (-counted[target], target))
    said = Trace(texts=(answer,), answer=Answer(answer))
    predictions = [Prediction(e, said, task.judge(answer, e.target)) for e in task.splits.test]
    return _row("majority", predictions)


async def _tested(
    name: str, network: Network, task: Task, model: LanguageModel, lost: Failures | None = None
) -> dict[str, Any]:
    predictions = await evaluate(network, model, task, task.splits.test, role=Role.test)
    why = reasons(merged(lost or {}, {"test/failed": failed(predictions)}))
    return _row(name, predictions) | ({"failures": why} if why else {})


def _one_layer(task: Task, shots: Sequence[Example]) -> Network:
    config = NetworkConfig(name="baseline", layers=[LayerConfig(trained=False)])
    return build_network(config, task, shots)


def _row(name: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    num_correct = sum(prediction.is_correct for prediction in predictions)
    low, high = wilson_interval(num_correct, len(predictions))
    shown = ("id", "target", "prediction", "correct", "failure")
    items = [prediction.to_dict() for prediction in predictions]
    return {
        "baseline": name,
        "num_items": len(predictions),
        "num_correct": num_correct,
        "accuracy": accuracy(predictions),
        "low": low,
        "high": high,
        "predictions": [{key: item[key] for key in shown if key in item} for item in items],
    }
