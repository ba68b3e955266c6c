"""The plan of a run: every trial once, in order, with its identity; and ``plan.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dln_core.checks import check_rung, check_settings
from dln_core.config import TrialSettings, require
from dln_core.errors import ConfigError
from dln_core.identity import trial_id
from orchestrator.files import journal_errors, write_atomic
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.catalogue import Catalogue, but_for_seed
from orchestrator.planning.estimate import estimate_baselines, sum_estimates
from orchestrator.planning.naming import Value, name_sweep, name_trial, varying_settings
from orchestrator.planning.parts import Parts
from orchestrator.settings.schema import RunConfig

PLAN_FILE = "plan.json"
_TRIAL_FIELDS = tuple(field.name for field in dataclasses.fields(TrialSettings))
# Where and when a trial runs, on which its result does not depend.
_PLACEMENT_FIELDS = ("priority", "resources")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """One trial of a plan.

    Attributes:
        trial_id: Identity by everything that the result depends on.
        name: Readable name, e.g. ``navigate dln2 13``.
        settings: What the result depends on.
        varying: The settings that differ over the sweep beside task, network and seed.
        estimate: What the trial is expected to cost.
        parts: The same by the parts that a budget sets aside.
        priority: Trials of a higher one are begun first.
        resources: What Ray sets aside for the trial's actor beside its CPUs.
    """

    trial_id: str
    name: str
    settings: TrialSettings
    varying: dict[str, Value]
    estimate: Estimate = field(default_factory=Estimate)
    parts: Parts = field(default_factory=Parts)
    priority: int = 0
    resources: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the trial is known by to budgets and journals."""
        return self.trial_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All trials of a run.

    Attributes:
        sweep: Name of the sweep, or of its tasks and networks.
        out_dir: Where the run is recorded.
        trials: In the order of the sweep; a trial that occurs twice stands at its first place.
        run: The settings that hold for the whole run.
        points: Trial id of every point of the sweep in its order; equal trials have the same.
        digests: Digest of the task's data by trial id.
        estimate: What the whole run is expected to cost, with its reference points.
    """

    sweep: str
    out_dir: Path
    trials: tuple[PlannedTrial, ...]
    run: RunConfig
    points: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    estimate: Estimate = field(default_factory=Estimate)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``plan.json`` holds."""
        return {
            "sweep": self.sweep,
            "trials": [_trial_to_dict(trial, self.digests) for trial in self.trials],
            "estimate": self.estimate.to_dict(),
        }


def make_plan(configs: Sequence[RunConfig]) -> Plan:
    """Plan the trials that the configurations describe.

    Args:
        configs: The points of the sweep in its order, at least one.

    Raises:
        ConfigError: If there is no configuration, a run-wide setting differs between them, or
            settings do not fit a task.
        DataError: If the data of a task is missing or damaged.
        ScoringError: If a network asks for log-probs that ``scoring.rung`` does not give.
    """
    if not configs:
        raise ConfigError("the sweep has no trial; give every key that it varies a value")
    _check_run_wide(configs)
    catalogue = Catalogue()
    chosen: dict[str, tuple[TrialSettings, RunConfig]] = {}
    points = []
    for config in configs:
        point = _trial_settings(config)
        points.append(trial_id(point, catalogue.task(point).digest))
        chosen.setdefault(points[-1], (point, config))
    settings = {key: point for key, (point, _) in chosen.items()}
    _check_fit(settings.values(), catalogue)
    varying = varying_settings(list(settings.values()))
    trials = tuple(
        _planned(key, point, columns, config, catalogue)
        for (key, (point, config)), columns in zip(chosen.items(), varying, strict=True)
    )
    name = configs[0].sweep or name_sweep(list(settings.values()))
    return Plan(
        sweep=name,
        out_dir=Path(configs[0].out_dir or Path("runs") / name),
        trials=trials,
        run=configs[0],
        points=tuple(points),
        digests={trial.trial_id: catalogue.task(trial.settings).digest for trial in trials},
        estimate=total_estimate(trials, configs[0], catalogue),
    )


def write_plan(plan: Plan) -> Path:
    """Write ``plan.json`` into the run's folder, whole or not at all, and return its path.

    Raises:
        JournalError: If the folder cannot be written.
    """
    path = plan.out_dir / PLAN_FILE
    with journal_errors(plan.out_dir):
        plan.out_dir.mkdir(parents=True, exist_ok=True)
    write_atomic(path, orjson.dumps(plan.to_dict(), option=orjson.OPT_INDENT_2).decode() + "\n")
    return path


def _planned(
    key: str,
    point: TrialSettings,
    columns: dict[str, Value],
    config: RunConfig,
    catalogue: Catalogue,
) -> PlannedTrial:
    estimate, parts = catalogue.expected(point)
    return PlannedTrial(
        trial_id=key,
        name=name_trial(point, columns),
        settings=point,
        varying=columns,
        estimate=estimate,
        parts=parts,
        priority=config.priority,
        resources=dict(config.resources),
    )


def _check_run_wide(configs: Sequence[RunConfig]) -> None:
    first = configs[0]
    for entry in dataclasses.fields(RunConfig):
        if entry.name in (*_TRIAL_FIELDS, *_PLACEMENT_FIELDS):
            continue
        values = [getattr(config, entry.name) for config in configs]
        if any(value != getattr(first, entry.name) for value in values):
            raise ConfigError(
                f"{entry.name} differs between trials, but holds for a whole run; "
                "give it one value, or start one run for each"
            )


def _check_fit(points: Collection[TrialSettings], catalogue: Catalogue) -> None:
    for point in {but_for_seed(point): point for point in points}.values():
        check_settings(point, catalogue.task(point))
        check_rung(point, catalogue.task(point))
    # They bring the HTTP client along, which mistakes found before this point need not pay for.
    from dln_core.llm.local.catalog import find_model
    from orchestrator.cluster.local_server import served_models

    for model in served_models(points):
        find_model(model)


def _trial_settings(config: RunConfig) -> TrialSettings:
    values = {name: getattr(config, name) for name in _TRIAL_FIELDS}
    settings = TrialSettings(**values)
    # An actor may work in another folder than the driver.
    settings.data = dataclasses.replace(config.data, dir=_absolute(config.data.dir))
    init = _absolute(config.network.init)
    require(
        init is None or Path(init).is_file(),
        f"network.init={config.network.init} is not a file; give the path of a network.json",
    )
    settings.network = dataclasses.replace(config.network, init=init)
    return settings


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().resolve()) if path else None


def total_estimate(
    trials: Sequence[PlannedTrial], run: RunConfig, catalogue: Catalogue
) -> Estimate:
    """Add up the estimates of trials and of the reference points of their tasks."""
    parts = [trial.estimate for trial in trials]
    measured: dict[str, Estimate] = {}
    for trial in trials:
        settings = trial.settings
        key = repr((settings.task, settings.data, settings.llm))
        measured.setdefault(
            key, estimate_baselines(settings, catalogue.size(settings), run.baselines)
        )
    return sum_estimates([*parts, *measured.values()], run)


def _trial_to_dict(trial: PlannedTrial, digests: dict[str, str]) -> dict[str, Any]:
    settings = trial.settings
    return {
        "trial_id": trial.trial_id,
        "name": trial.name,
        "task": settings.task.name,
        "network": settings.network.name,
        "seed": settings.seed,
        "varying": trial.varying,
        "task_digest": digests.get(trial.trial_id),
        "estimate": trial.estimate.to_dict(),
        "settings": dataclasses.asdict(settings),
    }
