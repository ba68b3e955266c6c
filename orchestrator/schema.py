"""The settings of a whole run: what a trial depends on, and where and how it is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field

from dln_core.config import (
    CacheConfig,
    CallLogConfig,
    LimitsConfig,
    TrialSettings,
    require,
    require_choice,
    require_positive,
)
from dln_core.config.baselines import DEFAULT_BASELINES, chosen_baselines
from orchestrator.tracking_check import without_password

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
ACTIONS = ("run", "plan", "render", "report", "calls", "sync")


@dataclass(slots=True, kw_only=True)
class BudgetConfig:
    """When to stop training, test the best networks so far and end; None means no bound."""

    max_tokens: int | None = None
    max_cost_usd: float | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_cost_usd", "max_seconds"):
            require_positive(f"budget.{name}", getattr(self, name))


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
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "dln"

    def __post_init__(self) -> None:
        require(
            self.uri.startswith(STORE_ADDRESSES),
            f"tracking.uri={without_password(self.uri)} is no address of an MLflow store; write "
            "e.g. sqlite:///mlflow.db, or http://HOST:5000 for a server",
        )


@dataclass(slots=True, kw_only=True)
class RunConfig(TrialSettings):
    """One composed configuration: a point of the sweep and how it is carried out.

    ``baselines`` names the reference points that are computed for each task.
    """

    action: str = "run"
    sweep: str | None = None
    out_dir: str | None = None
    baselines: list[str] = field(default_factory=lambda: list(DEFAULT_BASELINES))
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    backward_limits: LimitsConfig | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    call_log: CallLogConfig = field(default_factory=CallLogConfig)

    def __post_init__(self) -> None:
        TrialSettings.__post_init__(self)
        require_choice("action", self.action, ACTIONS)
        self.baselines = list(chosen_baselines(self.baselines))
