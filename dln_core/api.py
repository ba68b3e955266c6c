"""The notebook's way in: train, evaluate, predict and load, without Ray or Hydra.

A network is trained by the same ``Trial`` that a sweep's actors open.  All functions are async: in
a notebook ``await dln_core.train(...)``, in a script ``anyio.run``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import anyio.to_thread

from dln_core import evaluation
from dln_core.concurrency import map_bounded
from dln_core.config import (
    DataConfig,
    LLMConfig,
    NetworkConfig,
    ScoringConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
    require,
    require_choice,
)
from dln_core.config.reading import config_from
from dln_core.export import load_network
from dln_core.judging import judged_by
from dln_core.llm.connect import Connection, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.llm.opening import ModelSource, model_name, open_model
from dln_core.network import Network
from dln_core.outcome import Evaluation, Trained
from dln_core.tasks import load_task
from dln_core.tasks.own import SPLITS, make_task
from dln_core.tasks.task import Task
from dln_core.trial import Services, Trial
from dln_core.types import Example, Role

__all__ = ["Evaluation", "Trained", "evaluate", "load_network", "make_task", "predict", "train"]


class Changes(TypedDict, total=False):
    """Settings of a trial by their names, as on the command line.

    ``network`` and ``trainer`` may be what ``yaml.safe_load`` makes of a file of ``conf/network/``
    or ``conf/trainer/``.
    """

    data: DataConfig
    network: NetworkConfig | Mapping[str, Any]
    trainer: TrainerConfig | Mapping[str, Any]
    judge_llm: LLMConfig | None
    scoring: ScoringConfig
    calibration: str
    seed: int


async def train(
    settings: TrialSettings | None = None,
    *,
    task: str | Task | None = None,
    llm: ModelSource | None = None,
    backward_llm: ModelSource | None = None,
    on_event: Callable[[dict[str, Any]], object] | None = None,
    services: Services | None = None,
    **changes: Unpack[Changes],
) -> Trained:
    """Train a network, and test it once.

    Args:
        settings: What the result depends on; None takes the defaults (task ``triage``, one layer,
            the paper's trainer, a local model whose address has yet to be given).
        task: Name of a task, or a ``Task``, e.g. of ``make_task``; replaces that of the settings.
        llm: The model of the layers: an ``LLMConfig``, or any object with the method ``send`` of
            ``dln_core.llm.base.LanguageModel``; replaces that of the settings.
        backward_llm: The model that samples hidden texts and writes proposals; None takes that of
            the settings, or else ``llm``.
        on_event: Called after the start, each step and the test with what a sweep would record.
        services: Limits and stores of answers; None takes the defaults, which keep answers in the
            user's cache: the same call made again goes on where it was stopped.
        changes: Other settings to replace, e.g. ``network``, ``trainer``, ``data``, ``seed``.

    Raises:
        ConfigError: If settings are wrong or do not fit the data.
        DataError: If the task's data is missing.
        LLMError: If a model cannot be reached or cannot do what training asks of it.
    """
    chosen = _changed(settings or TrialSettings(), changes)
    if isinstance(task, str):
        chosen = replace(chosen, task=TaskConfig(name=task))
    if isinstance(llm, LLMConfig):
        chosen = replace(chosen, llm=llm)
    if isinstance(backward_llm, LLMConfig):
        chosen = replace(chosen, backward_llm=backward_llm)
    events: list[dict[str, Any]] = []
    async with Trial.open(
        chosen,
        services or Services(),
        task=None if isinstance(task, str) else task,
        model=None if isinstance(llm, LLMConfig) else llm,
        backward_model=None if isinstance(backward_llm, LLMConfig) else backward_llm,
    ) as trial:
        state, done = None, False
        while not done:
            advance = await trial.advance(state)
            state, done = advance.state, advance.done
            events.append(advance.event)
            if on_event is not None:
                on_event(advance.event)
        name = model_name(chosen.llm if llm is None else llm)
        return Trained.of(events, name, trial.usage, trial.progress()["cost_usd"])


async def evaluate(
    network: Network,
    task: str | Task,
    *,
    llm: ModelSource,
    split: str = "test",
    data: DataConfig | None = None,
    services: Services | None = None,
) -> Evaluation:
    """Measure a network on one split of a task, by the task's metric.

    Args:
        network: E.g. of ``train`` or ``load_network``.
        task: Name of a task, or a ``Task``.
        llm: The model of the layers, as for ``train``; where a model judges, the judge too.
        split: ``train``, ``dev`` or ``test``.
        data: Where the data of a named task lies, and how much of it is used.
        services: Limits and stores of answers.

    Raises:
        ConfigError: If there is no such task or split, or the split is empty.
        DataError: If the task's data is missing.
        LLMError: If the model cannot be reached or fails.
    """
    require_choice("split", split, SPLITS)
    if isinstance(task, str):
        config = TaskConfig(name=task)
        task = await anyio.to_thread.run_sync(load_task, config, data or DataConfig())
    require(
        len(getattr(task.splits, split)) > 0,
        f"task {task.name} has no item in its {split} split; choose another split",
    )
    await anyio.to_thread.run_sync(network.prepare)
    async with _opened(llm, services) as connection:
        if not connection.route.gives_labels:
            task = task.without_label_scores()
        examples = getattr(task.splits, split)
        predictions = await evaluation.evaluate(
            network, connection.model, judged_by(task, connection), examples, role=Role.test
        )
    rows = [prediction.to_dict() for prediction in predictions]
    figures = await anyio.to_thread.run_sync(evaluation.tested, predictions, task.metric)
    return Evaluation(**figures, predictions=rows)


async def predict(
    network: Network,
    inputs: Sequence[str],
    *,
    llm: ModelSource,
    labels: Sequence[str] = (),
    services: Services | None = None,
) -> list[str]:
    """Answer inputs with a network, one answer an input.

    Args:
        network: E.g. of ``train`` or ``load_network``.
        inputs: The texts to answer.
        llm: The model of the layers, as for ``train``.
        labels: The answers to choose from; none if the answer is free text.  A model that gives
            no log-probs of labels writes its answers instead.
        services: Limits and stores of answers.

    Raises:
        ConfigError: If the network needs labels that are not given, or the inputs are one text.
        LLMError: If the model cannot be reached or fails.
    """
    for name, texts in (("inputs", inputs), ("labels", labels)):
        require(
            not isinstance(texts, str),
            f"{name}={texts!r:.80} is one text; give a list of texts, e.g. {name}=['...']",
        )
    missing = [label for label in network.label_bias if label not in labels]
    require(
        not missing,
        f"network {network.name} was calibrated for labels that are not given "
        f"({', '.join(missing)}); give labels={list(network.label_bias)}",
    )

    await anyio.to_thread.run_sync(network.prepare)
    async with _opened(llm, services) as connection:
        choices = tuple(labels) if connection.route.gives_labels else ()

        async def answer(text: str) -> str:
            example = Example(id="", input=text, target="", labels=choices)
            trace = await network.run(connection.model, example, role=Role.forward)
            return trace.prediction

        return await map_bounded(answer, inputs)


def _changed(settings: TrialSettings, changes: Changes) -> TrialSettings:
    for name in changes:
        require_choice("setting", name, tuple(Changes.__annotations__))
    values: dict[str, Any] = dict(changes)
    for name, kind in (("network", NetworkConfig), ("trainer", TrainerConfig)):
        if isinstance(values.get(name), Mapping):
            values[name] = config_from(kind, values[name])
    return replace(settings, **values)


@asynccontextmanager
async def _opened(llm: ModelSource, services: Services | None) -> AsyncIterator[Connection]:
    services = services or Services()
    async with (
        open_stores(services.cache, services.store) as stores,
        open_model(
            llm,
            rung="auto",
            limits=services.limits,
            limiters=services.limiters,
            stores=stores,
            ledgers=[Ledger()],
        ) as connection,
    ):
        yield connection
