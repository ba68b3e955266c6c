"""What a checkpoint of training holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dln_core.failures import Failures
from dln_core.network import Network


@dataclass(frozen=True, slots=True)
class Remembered:
    """A network and what it is worth on dev.

    Attributes:
        network: The network.
        dev_accuracy: Value of the task's metric on the dev split.
        failures: What was lost while it was validated; it is recorded at once and not kept.
        samples: What it wrote on the first dev items; recorded at once and not kept either.
    """

    network: Network
    dev_accuracy: float
    failures: Failures = field(default_factory=dict, compare=False)
    samples: tuple[dict[str, Any], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """All that the next step depends on, besides the settings.

    Attributes:
        step: Steps done.
        network: The current network.
        best: The network with the best dev accuracy so far.
        best_step: The step that made it.
        memory: The best networks by dev accuracy, best first.
        num_stale: Validations since the best one improved.
        num_since_reload: The same, counted anew after the best network was reloaded.
    """

    step: int
    network: Network
    best: Remembered
    best_step: int
    memory: tuple[Remembered, ...] = ()
    num_stale: int = 0
    num_since_reload: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON values."""
        return {
            "step": self.step,
            "network": self.network.to_dict(),
            "best": _remembered_to_dict(self.best),
            "best_step": self.best_step,
            "memory": [_remembered_to_dict(entry) for entry in self.memory],
            "num_stale": self.num_stale,
            "num_since_reload": self.num_since_reload,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainerState:
        """Read what ``to_dict`` wrote."""
        return cls(
            step=values["step"],
            network=Network.from_dict(values["network"]),
            best=_remembered_from_dict(values["best"]),
            best_step=values["best_step"],
            memory=tuple(_remembered_from_dict(entry) for entry in values["memory"]),
            num_stale=values["num_stale"],
            num_since_reload=values["num_since_reload"],
        )


def _remembered_to_dict(entry: Remembered) -> dict[str, Any]:
    return {"network": entry.network.to_dict(), "dev_accuracy": entry.dev_accuracy}


def _remembered_from_dict(values: dict[str, Any]) -> Remembered:
    return Remembered(Network.from_dict(values["network"]), values["dev_accuracy"])
