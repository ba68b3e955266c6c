"""What a run is compared by in MLflow: its metrics and parameters, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dln_core.config import TrialSettings
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.summary import WORK, TrialSummary

if TYPE_CHECKING:
    from mlflow.entities import Metric

JOURNAL_TAG = "dln.journal"
COMMIT_TAG = "mlflow.source.git.commit"


def event_metrics(event: dict[str, Any], totals: TrialSummary) -> list[Metric]:
    """Return the metrics of an event: its own, what it took, and the totals so far."""
    from mlflow.entities import Metric

    if event["kind"] not in WORK:
        return []
    metrics = {**event["metrics"], "seconds/step": event["seconds"]}
    metrics["tokens/prompt"] = totals.usage["tokens_prompt"]
    metrics["tokens/completion"] = totals.usage["tokens_completion"]
    metrics["calls/asked"] = totals.usage["calls"]
    metrics["calls/paid"] = totals.usage["paid_calls"]
    if totals.cost_usd is not None:
        metrics["cost/usd"] = totals.cost_usd
    if totals.dev_accuracy is not None:
        metrics["dev/best_accuracy"] = totals.dev_accuracy
    if event["kind"] == "finish":
        for name, suffix in (("accuracy", ""), ("low", "_low"), ("high", "_high")):
            metrics[f"test/accuracy{suffix}"] = event["test"][name]
    return [
        Metric(name, float(value), milliseconds(event), event["step"])
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]


def status_tags(totals: TrialSummary) -> dict[str, str]:
    """Return the tags that tell how a trial stands."""
    return {
        "status": totals.status,
        "rung": totals.rung or "",
        "stopped": totals.stopped or "",
        "error": totals.error or "",
    }


def sweep_tags(plan: Plan, journal: Journal) -> dict[str, str]:
    """Return the tags that all runs of a sweep share."""
    tags = {"sweep": plan.sweep, JOURNAL_TAG: journal.id}
    if journal.git_commit:
        tags |= {"git_commit": journal.git_commit, COMMIT_TAG: journal.git_commit}
    return tags


def run_tags(plan: Plan, trial: PlannedTrial, journal: Journal) -> dict[str, str]:
    """Return the tags by which a trial's run is found and grouped."""
    settings = trial.settings
    return sweep_tags(plan, journal) | {
        "kind": "trial",
        "trial_id": trial.trial_id,
        "task": settings.task.name,
        "network": settings.network.name,
        "seed": str(settings.seed),
        "preset": settings.trainer.preset,
    }


def flat_params(settings: TrialSettings) -> dict[str, str]:
    """Return the settings that runs are compared by, under the names of the command line."""
    params = {
        "task": settings.task.name,
        "metric": settings.task.metric,
        "network": settings.network.name,
        "seed": str(settings.seed),
        "llm.provider": settings.llm.provider,
        "llm.model": settings.llm.model,
        "backward_llm.model": (settings.backward_llm or settings.llm).model,
    }
    groups = {"trainer": asdict(settings.trainer), "data": asdict(settings.data)}
    for group, values in groups.items():
        params |= dict(_flat(group, values))
    del params["data.dir"]
    return params


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", str(value)


def milliseconds(event: dict[str, Any]) -> int:
    """Return when an event was made, in Unix milliseconds."""
    return int(event["time"] * 1000)
