"""Names of trials: hashes of all that their results depend on, and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from dln_core.baselines.networks import wording
from dln_core.config import LLMConfig, NetworkConfig, TaskConfig, TrialSettings
from dln_core.config.baselines import DEFAULT_BASELINES, chosen_baselines
from dln_core.tasks.judges.custom import LLM
from dln_core.templates import JUDGE, load_template, templates_digest

# Raised by hand whenever the same settings would give another result.
RESULT_VERSION = 5

ID_LENGTH = 16


def trial_id(settings: TrialSettings, task_digest: str) -> str:
    """Name a trial by its result-affecting settings and its data.

    A network that is neither trained nor given random examples does not depend on seed and
    trainer, so all its seeds are one trial.

    Args:
        settings: The trial's settings.
        task_digest: SHA-256 of the task's splits, which stands for the data settings.
    """
    content: dict[str, Any] = {
        "version": RESULT_VERSION,
        "data": task_digest,
        "templates": templates_digest(),
        "task": _task(settings.task) | _judge(settings),
        "network": _network(settings),
        "llm": _model(settings.llm),
        "scoring": asdict(settings.scoring),
        "calibration": settings.calibration,
    }
    if settings.network.is_trained:
        content["trainer"] = asdict(settings.trainer)
        content["backward_llm"] = _model(settings.backward_llm or settings.llm)
    if settings.network.is_trained or _draws_shots(settings.network):
        content["seed"] = settings.seed
    return _hash(content)


def _draws_shots(network: NetworkConfig) -> bool:
    return network.num_shots > 0 and network.shots == "random"


def baseline_id(
    settings: TrialSettings, task_digest: str, names: Sequence[str] = DEFAULT_BASELINES
) -> str:
    """Name the chosen reference points of a task, its data and the forward model."""
    content: dict[str, Any] = {
        "version": RESULT_VERSION,
        "data": task_digest,
        "templates": templates_digest(),
        "task": _task(settings.task) | _judge(settings),
        "llm": _model(settings.llm),
        "scoring": asdict(settings.scoring),
    }
    chosen = chosen_baselines(names)
    if chosen != DEFAULT_BASELINES:
        content["baselines"] = chosen
        content["wording"] = asdict(wording())
    return _hash(content)


def _task(config: TaskConfig) -> dict[str, Any]:
    # The digest of the data stands for its files, its split and the judge.
    values = {"name": config.name, "instruction": config.instruction}
    return values if config.metric == "accuracy" else values | {"metric": config.metric}


def _judge(settings: TrialSettings) -> dict[str, Any]:
    """The model that judges, if one does, and what it is told."""
    if settings.task.judge != LLM:
        return {}
    model = _model(settings.judge_llm or settings.llm)
    return {"judge_llm": model, "judge_template": repr(load_template(JUDGE))}


def _network(settings: TrialSettings) -> dict[str, Any]:
    values = asdict(settings.network)
    # The exported network counts by its content, not by its path.
    if values["init"] is not None:
        with open(values["init"], "rb") as file:
            values["init"] = hashlib.sha256(file.read()).hexdigest()
    return values


def _model(config: LLMConfig) -> dict[str, Any]:
    values = asdict(config)
    kept = ("provider", "model", "revision", "api", "extra", "omit")
    return {name: values[name] for name in kept}


def _hash(content: dict[str, Any]) -> str:
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:ID_LENGTH]
