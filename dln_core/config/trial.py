"""All that the result of a trial depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

from dln_core.config.checks import require, require_choice
from dln_core.config.data import DataConfig, TaskConfig
from dln_core.config.endpoint import LLMConfig, ScoringConfig
from dln_core.config.network import NetworkConfig
from dln_core.config.trainer import TrainerConfig


@dataclass(slots=True, kw_only=True)
class TrialSettings:
    """Everything that the result of one trial depends on.

    ``calibration`` says whether the label prior of a prompt, estimated on training inputs without
    their answers, is divided out (``empirical``) or not (``none``).  ``judge_llm`` judges answers
    where ``task.judge=llm``; None for the model of the layers.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    backward_llm: LLMConfig | None = None
    judge_llm: LLMConfig | None = None
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    calibration: str = "none"
    seed: int = 13

    def __post_init__(self) -> None:
        require_choice("calibration", self.calibration, ("none", "empirical"))
        require(self.seed >= 0, f"seed={self.seed} must not be negative")
        require(self.seed < 2**63, f"seed={self.seed} is too large; it must be below 2**63")
        layers = self.network.layers
        names = [layer.name for i, layer in enumerate(layers) if self.network.trains(i)]
        for phase in self.trainer.phases:
            for name in phase.layers:
                require(
                    name in names,
                    f"trainer.phases names {name!r}, which is no trained layer of "
                    f"{self.network.name}; choose from: {', '.join(names) or 'none is trained'}",
                )

    @property
    def models(self) -> tuple[LLMConfig, ...]:
        """The language models that it names, of which some may be equal."""
        named = (self.llm, self.backward_llm, self.judge_llm)
        return tuple(llm for llm in named if llm is not None)
