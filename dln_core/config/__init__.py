"""The settings of the core as typed dataclasses, checked when they are made.

The fields have the names of the command line's keys.  ``TrialSettings`` gathers everything that
the result of a trial depends on.
"""

from dln_core.config.checks import require, require_choice, require_positive
from dln_core.config.data import DataConfig, TaskConfig
from dln_core.config.endpoint import (
    CacheConfig,
    CallLogConfig,
    LimitsConfig,
    LLMConfig,
    PriceConfig,
    ScoringConfig,
)
from dln_core.config.network import INPUT, LayerConfig, NetworkConfig
from dln_core.config.pretest import PretestConfig
from dln_core.config.trainer import (
    GuideConfig,
    PhaseConfig,
    PosteriorConfig,
    ProposalConfig,
    ProposalMix,
    RacingConfig,
    SelectionConfig,
    TrainerConfig,
)
from dln_core.config.trial import TrialSettings

__all__ = [
    "INPUT",
    "CacheConfig",
    "CallLogConfig",
    "DataConfig",
    "GuideConfig",
    "LLMConfig",
    "LayerConfig",
    "LimitsConfig",
    "NetworkConfig",
    "PhaseConfig",
    "PosteriorConfig",
    "PretestConfig",
    "PriceConfig",
    "ProposalConfig",
    "ProposalMix",
    "RacingConfig",
    "ScoringConfig",
    "SelectionConfig",
    "TaskConfig",
    "TrainerConfig",
    "TrialSettings",
    "require",
    "require_choice",
    "require_positive",
]
