"""Which trials make a method, and which of its settings is shown.

A method is a network, with its preset and models where these differ too.  What else differs is a
setting, of which each method shows, task by task, the one with the best mean dev accuracy: test
plays no part in the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dln_core.stats import t_interval
from orchestrator.planning.naming import Value
from orchestrator.planning.plan import PlannedTrial
from orchestrator.summary import TrialSummary

# What is compared rather than chosen: with trained networks both, with others the model alone.
_COMPARED = ("trainer.preset", "llm.model", "backward_llm.model")


@dataclass(frozen=True)
class Cell:
    """The trials of one task, method and setting, one a seed.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        setting: What was chosen, as ``key=value``; empty where there was no choice.
        trials: The trials with their totals, in plan order.
    """

    task: str
    method: str
    setting: str
    trials: tuple[tuple[PlannedTrial, TrialSummary], ...]

    @cached_property
    def tested(self) -> list[tuple[PlannedTrial, TrialSummary]]:
        """The trials that were tested."""
        return [(trial, summary) for trial, summary in self.trials if summary.test is not None]

    @cached_property
    def values(self) -> list[float]:
        """Test accuracy, or the task's other metric, by seed."""
        return [summary.test["accuracy"] for _, summary in self.tested if summary.test is not None]

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None before any was tested."""
        return float(np.mean(self.values)) if self.values else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds, cut at 0 and 1; None for one seed."""
        if len(self.values) < 2:
            return None
        low, high = t_interval(self.values)
        return max(0.0, low), min(1.0, high)

    @property
    def shown(self) -> Sequence[tuple[PlannedTrial, TrialSummary]]:
        """The tested trials, or all while none is tested."""
        return self.tested or self.trials

    @property
    def dev(self) -> float | None:
        """Mean dev accuracy over the tested seeds, or over all while none is tested."""
        known = [s.dev_accuracy for _, s in self.shown if s.dev_accuracy is not None]
        return float(np.mean(known)) if known else None

    @property
    def best_trial(self) -> PlannedTrial:
        """The seed that is best on dev, of the tested ones if any; the first of equals."""
        return max(self.shown, key=lambda one: one[1].dev_accuracy or 0.0)[0]

    @property
    def tokens(self) -> float:
        """Mean tokens that a tested seed asked for."""
        return float(np.mean([summary.tokens for _, summary in self.tested]))

    @property
    def is_trained(self) -> bool:
        """Whether the method is trained."""
        return self.trials[0][0].settings.network.is_trained

    @property
    def metric(self) -> str:
        """What the task is measured by."""
        return self.trials[0][0].settings.task.metric

    @property
    def note(self) -> str:
        """How many seeds there are, said where it is needed."""
        done, planned = len(self.values), len(self.trials)
        if done < planned:
            return f"{done} of {planned} seeds"
        return "one seed" if done == 1 else f"{done} seeds"


@dataclass(frozen=True)
class Methods:
    """The cells of a sweep.

    Attributes:
        tasks: In plan order.
        names: Of the methods, in plan order.
        chosen: By task and method, the setting that is shown.
        cells: All settings, in plan order.
    """

    tasks: tuple[str, ...]
    names: tuple[str, ...]
    chosen: dict[tuple[str, str], Cell]
    cells: tuple[Cell, ...]

    @property
    def has_choice(self) -> bool:
        """Whether any method had settings to choose from."""
        return len(self.cells) > len(self.chosen)

    def mean_of(self, method: str) -> float | None:
        """Mean over tasks of a method; None unless it was tested on all."""
        cells = [self.chosen.get((task, method)) for task in self.tasks]
        means = [cell.mean for cell in cells if cell is not None and cell.mean is not None]
        return float(np.mean(means)) if len(means) == len(self.tasks) else None

    def best_on_dev(self, task: str, *, trained: bool = True) -> Cell | None:
        """The trained method that is best on dev, the first of equals; None without any.

        Those that were tested go first.

        Args:
            task: Name of the task.
            trained: False asks for the best of the others.
        """
        cells = (self.chosen.get((task, method)) for method in self.names)
        known = [c for c in cells if c is not None and c.is_trained == trained]
        known = [cell for cell in known if cell.dev is not None]
        return max(known, key=lambda cell: (bool(cell.values), cell.dev or 0.0), default=None)


def find_methods(planned: Iterable[PlannedTrial], summaries: Mapping[str, TrialSummary]) -> Methods:
    """Sort the trials of a sweep into cells and choose a setting for each method and task.

    Args:
        planned: The trials.
        summaries: What their journals add up to, by ``trial_id``.
    """
    grouped: dict[tuple[str, str, str], list[tuple[PlannedTrial, TrialSummary]]] = {}
    for trial in planned:
        key = (trial.settings.task.name, _method(trial), _setting(trial))
        grouped.setdefault(key, []).append((trial, summaries[trial.trial_id]))
    cells = tuple(Cell(*key, tuple(trials)) for key, trials in grouped.items())
    rivals: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        rivals.setdefault((cell.task, cell.method), []).append(cell)
    return Methods(
        tasks=_distinct(cell.task for cell in cells),
        names=_distinct(cell.method for cell in cells),
        chosen={key: _choose(group) for key, group in rivals.items()},
        cells=cells,
    )


def _choose(cells: list[Cell]) -> Cell:
    # A setting that was tested with fewer seeds may owe its mean to luck.
    return max(cells, key=lambda cell: (len(cell.values), cell.dev or 0.0))


def _method(trial: PlannedTrial) -> str:
    keys = _COMPARED if trial.settings.network.is_trained else _COMPARED[1:2]
    parts = [str(trial.varying[key]) for key in keys if trial.varying.get(key, "null") != "null"]
    return " · ".join([trial.settings.network.name, *parts])


def with_model(name: str, trial: PlannedTrial) -> str:
    """Name what a trial is shown beside; with its model where the models differ."""
    model = trial.varying.get("llm.model")
    return name if model is None else f"{name} · {model}"


def _setting(trial: PlannedTrial) -> str:
    tuned: dict[str, Value] = {k: v for k, v in trial.varying.items() if k not in _COMPARED}
    if not trial.settings.network.is_trained:
        tuned = {key: value for key, value in tuned.items() if not key.startswith("trainer.")}
    return ", ".join(f"{key}={value}" for key, value in tuned.items())


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
