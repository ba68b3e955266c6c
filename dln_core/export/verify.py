"""Measuring an exported network on dev once more, and holding it against what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.to_thread

from dln_core.api import evaluate as measure
from dln_core.config import CacheConfig, DataConfig, LLMConfig, TrialSettings
from dln_core.errors import ConfigError, ExportError, NotStoredError
from dln_core.evaluation import evaluate, on_metric
from dln_core.export.document import load_network, read_document
from dln_core.export.recorded import RecordedTrial, read_trial
from dln_core.judging import judged_by
from dln_core.llm.connect import Connection, open_stores, stored_answers
from dln_core.network import Network
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trial import Services, Trial
from dln_core.types import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where to find what the record of a trial does not say, since no result depends on it.

    Attributes:
        cache: Where answers are stored.
        base_url: Address of the endpoint for answers that are not stored; None for the recorded.
        data_dir: Folder of the data sets; None for the recorded one.
    """

    cache: CacheConfig = field(default_factory=CacheConfig)
    base_url: str | None = None
    data_dir: str | None = None


async def verify_trial(folder: Path, access: Access) -> str:
    """Verify the network.json of a finished trial.

    It has to be the recorded network, and to get the recorded accuracy on dev (or the value of the
    task's other metric).  The endpoint is asked only if an answer is not stored.

    Returns:
        What was found, in a sentence.

    Raises:
        ConfigError: If the folder holds no finished trial, or the endpoint's address is missing.
        DataError: If the task's data is missing.
        ExportError: If the network or its accuracy is another one.
        LLMError: If an answer is not stored and the endpoint does not give it.
    """
    recorded = read_trial(folder)
    path = folder / "network.json"
    if read_document(path) != recorded.document:
        raise ExportError(
            f"{path} is not the network that the trial recorded: it was changed since; the "
            "recorded one is best_network of the last line of events.jsonl"
        )
    settings = _with_access(recorded.settings, access)
    tools = [tool for layer in settings.network.layers for tool in layer.tools]
    network = await anyio.to_thread.run_sync(load_network, path, tools)
    task = await anyio.to_thread.run_sync(load_task, settings.task, settings.data)
    await anyio.to_thread.run_sync(network.prepare)
    try:
        accuracy, num_paid = await _from_stores(network, task, recorded, access.cache), 0
    except NotStoredError:
        accuracy, num_paid = await _asked(network, settings, recorded, access.cache)
    source = f"{num_paid:,} calls were paid" if num_paid else "all from stored answers"
    found = f"{path} gets {100 * accuracy:.2f} on {len(task.splits.dev)} dev items ({source})"
    # The same sums make the same figure to the last bit.
    if accuracy != recorded.dev_accuracy:
        raise ExportError(
            f"{found}, but {100 * recorded.dev_accuracy:.2f} were recorded; as the network is the "
            "recorded one, the model answers otherwise than it did"
        )
    return f"{found}, as recorded"


async def verify_alone(
    path: Path, task: str, llm: LLMConfig, dev_accuracy: float | None, access: Access
) -> str:
    """Measure a network.json that lies anywhere on the dev split of a task.

    Args:
        path: The file.
        task: Name of the task.
        llm: Which model, and where.
        dev_accuracy: What the network has to get, as a share; None only measures.
        access: Where answers and data are.

    Returns:
        What was found, in a sentence.

    Raises:
        ConfigError: If the file is no network, or there is no such task.
        DataError: If the task's data is missing.
        ExportError: If it gets something else.
        LLMError: If the model cannot be reached or fails.
    """
    network = await anyio.to_thread.run_sync(load_network, path)
    data, services = DataConfig(dir=access.data_dir), Services(cache=access.cache)
    got = await measure(network, task, llm=llm, split="dev", data=data, services=services)
    found = f"{path} gets {100 * got.accuracy:.2f} on the {got.num_items} dev items of {task}"
    if dev_accuracy is None:
        return f"{found}; give --dev-accuracy to compare"
    # Shares are told with four digits in tables.
    if abs(got.accuracy - dev_accuracy) > 5e-5:
        raise ExportError(f"{found}, not {100 * dev_accuracy:.2f}")
    return f"{found}, as wanted"


def _with_access(settings: TrialSettings, access: Access) -> TrialSettings:
    return replace(
        settings,
        llm=replace(settings.llm, base_url=access.base_url or settings.llm.base_url),
        data=replace(settings.data, dir=access.data_dir or settings.data.dir),
    )


async def _from_stores(
    network: Network, task: Task, recorded: RecordedTrial, cache: CacheConfig
) -> float:
    """Measure a network on dev without any endpoint."""
    settings, route = recorded.settings, recorded.route
    judge_llm, judge_route = settings.judge_llm or settings.llm, recorded.judge_route or route
    if not route.gives_labels:
        task = task.without_label_scores()
    async with open_stores(cache, recorded.store) as stores:
        model = stored_answers(settings.llm, route, stores)
        judge = stored_answers(judge_llm, judge_route, stores)
        task = judged_by(task, Connection(judge, judge_route))
        predictions = await evaluate(network, model, task, task.splits.dev, role=Role.dev)
    return on_metric(predictions, task.metric)


async def _asked(
    network: Network, settings: TrialSettings, recorded: RecordedTrial, cache: CacheConfig
) -> tuple[float, int]:
    """Measure a network on dev, asking for what is not stored; also tell the calls paid."""
    llm = settings.llm
    if llm.provider == "local" and llm.base_url is None:
        raise ConfigError(
            f"not all dev answers of {llm.model} are stored in this cache; give --cache-dir as in "
            f"the run, or serve the model (python -m dln_core.llm.local serve {llm.model} --port "
            "8080) and give --base-url"
        )
    rung = recorded.route.rung or "auto"
    judge_rung = (recorded.judge_route and recorded.judge_route.rung) or "auto"
    held = replace(settings, scoring=replace(settings.scoring, rung=rung))
    services = Services(cache=cache, store=recorded.store)
    async with Trial.open(held, services, judge_rung=judge_rung) as trial:
        accuracy = await trial.validate(network)
        return accuracy, trial.progress()["paid_calls"]
