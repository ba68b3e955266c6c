"""The settings of a whole run: what a trial depends on, and where and how it is carried out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dln_core.config import (
    CacheConfig,
    CallLogConfig,
    LimitsConfig,
    PretestConfig,
    TrainerConfig,
    TrialSettings,
    require,
    require_choice,
    require_positive,
)
from dln_core.config.baselines import DEFAULT_BASELINES, chosen_baselines
from orchestrator.settings.addresses import has_port_or_none, without_password

# Folders of files are none of them: MLflow gave them up.
STORE_ADDRESSES = (
    "sqlite:///",
    "http://",
    "https://",
    "postgresql",
    "mysql",
    "mssql",
    "databricks",
)
BOUNDS = ("max_tokens", "max_cost_usd", "max_seconds")
OUTPUTS = ("auto", "live", "plain", "json")
ACTIONS = ("run", "plan", "pretest", "render", "report", "calls", "sync")


@dataclass(slots=True, kw_only=True)
class BoundsConfig:
    """What may be used at most; None means no bound."""

    max_tokens: int | None = None
    max_cost_usd: float | None = None
    max_seconds: float | None = None

    def bounds(self) -> dict[str, float]:
        """Return the bounds that are set, by name."""
        values = {name: getattr(self, name) for name in BOUNDS}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class BudgetConfig(BoundsConfig):
    """What the whole sweep, and each of its trials, may use.

    A trial for which nothing is left ends its training and is tested.
    """

    trial: BoundsConfig = field(default_factory=BoundsConfig)

    def __post_init__(self) -> None:
        for prefix, config in (("budget", self), ("budget.trial", self.trial)):
            for name in BOUNDS:
                require_positive(f"{prefix}.{name}", getattr(config, name))


@dataclass(slots=True, kw_only=True)
class ClusterConfig:
    """Where trials run.

    Attributes:
        address: Ray address to join (``auto``, ``ray://…``); None starts Ray on this machine.
        max_trials: Trials at once.
        cpus_per_trial: CPUs that Ray sets aside for a trial's actor.
        dashboard_port: Port of the Ray dashboard when Ray is started here.
        max_retries: How often a trial whose actor died is started again.
    """

    address: str | None = None
    max_trials: int = 4
    cpus_per_trial: float = 0.25
    dashboard_port: int = 8265
    max_retries: int = 3

    def __post_init__(self) -> None:
        require_positive("cluster.max_trials", self.max_trials)
        require_positive("cluster.cpus_per_trial", self.cpus_per_trial)
        require(self.max_retries >= 0, "cluster.max_retries must not be negative")
        require(
            0 <= self.dashboard_port <= 65535,
            f"cluster.dashboard_port={self.dashboard_port} must be from 0 (any) to 65535",
        )


@dataclass(slots=True, kw_only=True)
class TrackingConfig:
    """Where MLflow records go.

    Attributes:
        uri: MLflow tracking URI.
        experiment: Name of the MLflow experiment.
        traces: Whether logged calls become traces of their trial's run.
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "dln"
    traces: bool = False

    def __post_init__(self) -> None:
        require(
            self.uri.startswith(STORE_ADDRESSES),
            f"tracking.uri={without_password(self.uri)} is no address of an MLflow store; write "
            "e.g. sqlite:///mlflow.db, or http://HOST:5000 for a server",
        )
        require(
            # What stands there names a secret.
            self.uri.startswith("databricks") or has_port_or_none(self.uri),
            f"tracking.uri={without_password(self.uri)} has something else than a port from 1 to "
            "65535 after its host; give the server's, e.g. http://HOST:5000",
        )


@dataclass(slots=True, kw_only=True)
class SchedulerConfig:
    """Which trials are trained to their end.

    Attributes:
        kind: ``fifo`` trains all; ``asha`` ends trials early that do worse than others.
        min_steps: Steps after which trials are first compared; None with ``fifo``.
        reduction_factor: The best of so many go on, and are compared again after so many times as
            many steps; None with ``fifo``.
    """

    kind: str = "fifo"
    min_steps: int | None = None
    reduction_factor: int | None = None

    def __post_init__(self) -> None:
        require_choice("scheduler.kind", self.kind, ("fifo", "asha"))
        given = {"min_steps": 1, "reduction_factor": 2}
        _require_given("scheduler", self, ("asha",), given)

    def check(self, trainer: TrainerConfig) -> None:
        """Refuse trials that could not be ended early though it is asked for.

        Raises:
            ConfigError: If a training validates at no step at which it would be compared.
        """
        if self.min_steps is None:
            return
        every, num_steps = trainer.validate_every, trainer.num_iterations
        hint = "or choose scheduler=fifo"
        require(
            every > 0,
            "scheduler=asha compares trials while they train, but trainer.validate_every=0 "
            f"validates the first and the last network alone; set it to 1 or more, {hint}",
        )
        first = math.ceil(self.min_steps / every) * every
        require(
            first < num_steps,
            f"scheduler=asha would first compare trials after step {first} (scheduler.min_steps="
            f"{self.min_steps}, trainer.validate_every={every}), where trainer.num_iterations="
            f"{num_steps} has ended; lower one of the first two, {hint}",
        )


@dataclass(slots=True, kw_only=True)
class SearchConfig:
    """Which points of a sweep are run.

    Attributes:
        kind: ``grid`` runs all; ``random`` draws settings; ``optuna`` chooses them in rounds, by
            the dev accuracy of those before.
        num_settings: How many; None with ``grid``.
        seed: Of the draws; None with ``grid``.
        round_size: Settings chosen at once; None for ``cluster.max_trials``.
    """

    kind: str = "grid"
    num_settings: int | None = None
    seed: int | None = None
    round_size: int | None = None

    def __post_init__(self) -> None:
        require_choice("search.kind", self.kind, ("grid", "random", "optuna"))
        _require_given("search", self, ("random", "optuna"), {"num_settings": 1, "seed": 0})
        require_positive("search.round_size", self.round_size)
        require(
            self.round_size is None or self.kind == "optuna",
            f"search.round_size={self.round_size} has no meaning with search={self.kind}; choose "
            "search=optuna, or leave it out",
        )


def _require_given(
    group: str,
    config: SchedulerConfig | SearchConfig,
    kinds: tuple[str, ...],
    least: Mapping[str, int],
) -> None:
    """Require settings of some kinds, from a least value on, and refuse them with the others."""
    for name, minimum in least.items():
        value = getattr(config, name)
        if config.kind in kinds:
            require(
                value is not None and value >= minimum,
                f"{group}.{name}={value} must be {minimum} or more with {group}={config.kind}",
            )
        else:
            require(
                value is None,
                f"{group}.{name}={value} has no meaning with {group}={config.kind}; choose "
                f"{group}={kinds[0]}, or leave it out",
            )


@dataclass(slots=True, kw_only=True)
class RunConfig(TrialSettings):
    """One composed configuration: a point of the sweep and how it is carried out.

    ``baselines`` names the reference points that are computed for each task.  ``priority`` and
    ``resources`` (Ray's, by name) may differ between trials; neither changes a result.
    """

    action: str = "run"
    output: str = "auto"
    sweep: str | None = None
    out_dir: str | None = None
    priority: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=lambda: list(DEFAULT_BASELINES))
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    backward_limits: LimitsConfig | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    call_log: CallLogConfig = field(default_factory=CallLogConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    pretest: PretestConfig = field(default_factory=PretestConfig)

    def __post_init__(self) -> None:
        TrialSettings.__post_init__(self)
        require_choice("action", self.action, ACTIONS)
        require_choice("output", self.output, OUTPUTS)
        self.baselines = list(chosen_baselines(self.baselines))
        if self.network.is_trained:
            self.scheduler.check(self.trainer)
        require(
            not self.tracking.traces or self.call_log.share > 0,
            "tracking.traces=true makes traces of the calls that are logged, but none is; add "
            "call_log.share=0.05 for every twentieth call, or call_log=all",
        )
        for name, amount in self.resources.items():
            require(amount > 0, f"resources.{name}={amount} must be positive, or be left out")
