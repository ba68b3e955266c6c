"""What the folder of a finished trial says of its network."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dln_core.config import TrialSettings
from dln_core.config.reading import config_from
from dln_core.errors import ConfigError
from dln_core.llm.capabilities import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """A finished trial as its files tell of it.

    Attributes:
        settings: What its result depends on, its models held to the interfaces that it used.
        document: The network that it recorded as the best.
        dev_accuracy: What that got on dev, by the task's metric.
        route: How its model was asked.
        judge_route: How the model that judges was asked; None where none judges.
        store: Name of the sweep's own store of answers.
    """

    settings: TrialSettings
    document: dict[str, Any]
    dev_accuracy: float
    route: Route
    judge_route: Route | None
    store: str


def read_trial(folder: Path) -> RecordedTrial:
    """Read the record of a finished trial.

    Args:
        folder: ``trials/ID`` of an output folder.

    Raises:
        ConfigError: If it is no trial's folder, the trial has not finished, or a file is broken.
    """
    try:
        settings = config_from(TrialSettings, yaml.safe_load(_text(folder / "config.yaml")))
        # A learned text may hold other characters that end a line.
        lines = _text(folder / "events.jsonl").rstrip("\n").split("\n")
        events = [json.loads(line) for line in lines]
        store = json.loads(_text(folder.parents[1] / "journal.json"))["id"]
        # What was finished may have been opened again for more steps.
        ends = [event for event in events if event["kind"] in ("finish", "reopen")]
        if not ends or ends[-1]["kind"] == "reopen":
            raise ConfigError(
                f"the trial in {folder} has not finished, so its best network is not known; run "
                "its sweep again"
            )
        finish = ends[-1]
        start = next(event for event in events if event["kind"] == "start")
        route = Route(start["api"], start["endpoint_rung"])
        judge = start.get("judge_api")
        return RecordedTrial(
            settings=_held(settings, route.api, judge),
            document=finish["best_network"],
            dev_accuracy=finish["best"]["dev_accuracy"],
            route=route,
            judge_route=Route(judge, start["judge_rung"]) if judge else None,
            store=store,
        )
    except (ValueError, KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"the record in {folder} is broken ({type(error).__name__}: {error}); run its sweep "
            "again, which mends it"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); give the folder of a trial, "
            "OUT_DIR/trials/ID, or a network.json"
        ) from error


def _held(settings: TrialSettings, api: str, judge_api: str | None) -> TrialSettings:
    """Hold the models to the interfaces that were used: answers are stored by them."""
    judge = settings.judge_llm
    return replace(
        settings,
        llm=replace(settings.llm, api=api),
        judge_llm=replace(judge, api=judge_api) if judge and judge_api else judge,
    )
