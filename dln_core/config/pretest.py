"""How much a pretest looks at."""

from __future__ import annotations

from dataclasses import dataclass

from dln_core.config.checks import require


@dataclass(slots=True, kw_only=True)
class PretestConfig:
    """What is asked before a sweep is paid for: whether prompts make a difference at all.

    Attributes:
        num_examples: Dev examples that every prompt answers; all if there are fewer.
        num_prompts: Prompts that the model proposes for each trained layer.
    """

    num_examples: int = 40
    num_prompts: int = 4

    def __post_init__(self) -> None:
        require(
            self.num_examples >= 8,
            f"pretest.num_examples={self.num_examples} tells nothing; give at least 8",
        )
        require(
            self.num_prompts >= 0,
            f"pretest.num_prompts={self.num_prompts} must not be negative; 0 asks for none",
        )
