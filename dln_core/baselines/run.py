"""Reference points on a task's own test items: what needs no training.

They are computed once for a (task, split, model) and stand beside every trained network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from dln_core.baselines.networks import networks_of
from dln_core.calibration import calibrated
from dln_core.config import TrialSettings
from dln_core.config.baselines import DEFAULT_BASELINES, chosen_baselines
from dln_core.errors import BudgetError
from dln_core.evaluation import Prediction, collected, evaluate, failed, tested
from dln_core.failures import Failures, merged, reasons
from dln_core.judging import judged_by, open_judge
from dln_core.llm.allowance import Allowance
from dln_core.llm.base import LanguageModel
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.network import Network
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trace import Trace
from dln_core.trial import Services
from dln_core.types import Example, Role
from dln_core.voting import Answer

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one attempt at reference points came to.

    Attributes:
        rows: Of those that were measured, without what they took.
        missing: Names of those for which the allowance did not suffice.
        usage: What was asked for, by role, also for those that are missing.
        cost_usd: What was paid; None where a price is not known.
    """

    rows: list[Row]
    missing: tuple[str, ...]
    usage: dict[str, dict[str, int]]
    cost_usd: float | None


async def run_baselines(
    settings: TrialSettings,
    services: Services,
    names: Sequence[str] = DEFAULT_BASELINES,
    task: Task | None = None,
    unit: str | None = None,
) -> list[Row]:
    """Measure the reference points of one task with one model, whatever they take.

    Args:
        settings: Its task, data, model and scoring count.
        services: How calls are carried out.
        names: Which reference points: ``majority`` class of the training split; the ``initial``
            prompt; the same with ``initial_calibrated`` labels; three ``handwritten`` prompts;
            ``few_shot`` with random worked examples; ``kate`` with the nearest ones; ``cot``, which
            thinks in writing first.
        task: Stands for the task that the settings name.
        unit: Names this work at every attempt, see ``Trial.advance``.

    Returns:
        A row each, three of ``handwritten``.  Tasks without labels have neither a majority nor a
        calibrated row.  Each row carries the usage of all.

    Raises:
        DLNError: If the data or the endpoint cannot be used.
    """
    measured = await measure_baselines(settings, services, names, task=task, unit=unit)
    usage = {"usage": measured.usage, "cost_usd": measured.cost_usd}
    return [row | usage for row in measured.rows]


async def measure_baselines(
    settings: TrialSettings,
    services: Services,
    names: Sequence[str],
    *,
    task: Task | None = None,
    unit: str | None = None,
    allowance: Allowance | None = None,
) -> Measured:
    """Measure reference points one after the other until all are done or the allowance is used up.

    Args:
        settings: As of ``run_baselines``, like the others.
        services: How calls are carried out.
        names: Which reference points.
        task: Stands for the task that the settings name.
        unit: Names this work at every attempt.
        allowance: What may be used; None for no bound.

    Raises:
        DLNError: If the data or the endpoint cannot be used.
    """
    if task is None:
        task = await anyio.to_thread.run_sync(load_task, settings.task, settings.data)
    ledger = Ledger(allowance=allowance)
    async with (
        open_stores(services.cache, services.store, services.source) as stores,
        AsyncExitStack() as stack,
    ):
        common: dict[str, Any] = {
            "limits": services.limits,
            "limiters": services.limiters,
            "stores": stores,
            "ledgers": [ledger],
            "call_log": services.call_log,
        }
        connection = await stack.enter_async_context(
            connect(settings.llm, rung=settings.scoring.rung, **common)
        )
        judge = await stack.enter_async_context(
            open_judge(settings.judge_llm, connection, **common)
        )
        with stores.payer.paying(unit):
            rows, missing = await _measure(judged_by(task, judge), connection, names)
    about = {"task": task.name, "model": settings.llm.model}
    return Measured(
        rows=[about | row for row in rows],
        missing=missing,
        usage=ledger.usage(),
        cost_usd=ledger.cost_usd,
    )


async def _measure(
    task: Task, connection: Connection, names: Sequence[str]
) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows, and the names from the first that an allowance did not suffice for."""
    rows, left = list[Row](), chosen_baselines(names)
    while left:
        is_done = False
        try:
            rows += await _rows_of(left[0], task, connection)
            is_done = True
        except* BudgetError:
            pass  # what is left says so
        if not is_done:
            break
        left = left[1:]
    return rows, left


async def _rows_of(name: str, task: Task, connection: Connection) -> list[Row]:
    # Whatever the endpoint can do, its classes stay the same.
    if name in ("majority", "initial_calibrated") and not task.is_classification:
        return []
    if name == "majority":
        return [await _majority(task)]
    asked, rows = task if connection.route.gives_labels else task.without_label_scores(), []
    for row, network in networks_of(name, asked).items():
        await anyio.to_thread.run_sync(network.prepare)
        rows.append(await _tested(row, network, asked, connection.model))
    return rows


async def _majority(task: Task) -> Row:
    counted = Counter(example.target for example in task.splits.train)
    # Of equally frequent answers the first by name, so that the choice is always the same.
    answer = min(counted, key=lambda target: (-counted[target], target))
    said = Trace(texts=(answer,), answer=Answer(answer))

    async def one(example: Example) -> Prediction:
        return Prediction(example, said, await task.judged(answer, example))

    return await _row("majority", await collected(one, task, task.splits.test), task)


async def _tested(name: str, network: Network, task: Task, model: LanguageModel) -> Row:
    lost: Failures = {}
    if name == "initial_calibrated":
        network, refusals = await calibrated(network, model, task.splits.train, Role.test)
        lost = {"train/failed_calibration": refusals}
    predictions = await evaluate(network, model, task, task.splits.test, role=Role.test)
    why = reasons(merged(lost, {"test/failed": failed(predictions)}))
    return await _row(name, predictions, task) | ({"failures": why} if why else {})


async def _row(name: str, predictions: Sequence[Prediction], task: Task) -> Row:
    shown = ("id", "target", "prediction", "correct", "score", "label", "failure")
    # Resampling takes up to seconds.
    figures = await anyio.to_thread.run_sync(tested, predictions, task.metric)
    items = [prediction.to_dict() for prediction in predictions]
    return {
        "baseline": name,
        **figures,
        "predictions": [{key: item[key] for key in shown if key in item} for item in items],
    }
