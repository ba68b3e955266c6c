"""Which plots a report has: learning curves, and accuracy against the tokens spent for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from orchestrator.report.methods import Cell, Methods
from orchestrator.report.plots import Dot, Line, Panel
from orchestrator.report.reading import History, Point
from orchestrator.terminal.table import METRIC_NAMES

Read = Callable[[Point], float | None]
_AXES: tuple[tuple[str, str, Read], ...] = (
    ("step", "step", lambda point: float(point.step)),
    ("tokens", "tokens", lambda point: float(point.tokens)),
    ("cost", "cost in $", lambda point: point.cost_usd),
)
_OBJECTIVES = {
    "train/elbo": "ELBO on training batches, nats",
    "train/objective": "Objective on training batches",
}


def curve_panels(task: str, methods: Methods, histories: Mapping[str, History]) -> Iterator[Panel]:
    """Yield the learning curves of a task: dev accuracy and ELBO by step, tokens and cost."""
    cells = [cell for (name, _), cell in methods.chosen.items() if name == task]
    runs = {c.method: [histories[t.trial_id].points for t, _ in c.shown] for c in cells}
    untrained = [cell.method for cell in cells if not cell.is_trained]
    points = [point for group in runs.values() for run in group for point in run]
    metric = METRIC_NAMES[cells[0].metric]
    objective = next((name for name in _OBJECTIVES if any(name in p.metrics for p in points)), "")
    titles = {"dev/accuracy": f"Dev {metric}, %", objective: _OBJECTIVES.get(objective, "")}
    for key, title in titles.items():
        scale = 100.0 if key == "dev/accuracy" else 1.0
        for axis, x_label, read in _AXES:
            if axis == "cost" and not any(point.cost_usd for point in points):
                continue
            lines = {
                name: line
                for name, group in runs.items()
                if (line := _line(group, key, read, scale)) is not None
            }
            levels = {name: lines.pop(name).y[0] for name in untrained if name in lines}
            if lines:
                yield Panel(
                    name=file_name(f"{task}-{key.partition('/')[2]}-by-{axis}"),
                    title=title,
                    x_label=x_label,
                    names=methods.names,
                    lines=lines,
                    levels=levels,
                )


def _line(runs: Sequence[Sequence[Point]], key: str, read: Read, scale: float) -> Line | None:
    """The mean over seeds, of the steps that all of them have."""
    curves: list[dict[int, tuple[float, float]]] = []
    for run in runs:
        curve: dict[int, tuple[float, float]] = {}
        for point in run:
            x, y = read(point), point.metrics.get(key)
            if x is not None and y is not None:
                curve[point.step] = (x, scale * y)
        if curve:
            curves.append(curve)
    if not curves:
        return None
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        return None
    means = np.mean([[curve[step] for step in steps] for curve in curves], axis=0)
    seeds = [_axes_of(curve) for curve in curves if len(curves) > 1]
    return Line(means[:, 0].tolist(), means[:, 1].tolist(), seeds)


def _axes_of(curve: Mapping[int, tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in curve.values()], [y for _, y in curve.values()]


def spending_panel(task: str, methods: Methods) -> Panel | None:
    """Return the plot of a task's test figures against tokens spent; None before any test."""
    cells = [cell for cell in methods.cells if cell.task == task and cell.values]
    if not cells:
        return None
    dots: dict[str, list[Dot]] = {}
    for cell in cells:
        dots.setdefault(cell.method, []).append(_dot(cell))
    return Panel(
        name=file_name(f"{task}-test-by-tokens"),
        title=f"Test {METRIC_NAMES[cells[0].metric]}, %",
        x_label="tokens a seed",
        names=methods.names,
        dots=dots,
        front=pareto([(dot.x, dot.y) for group in dots.values() for dot in group]),
    )


def _dot(cell: Cell) -> Dot:
    ends = cell.interval
    return Dot(
        cell.tokens,
        100.0 * float(np.mean(cell.values)),
        None if ends is None else (100.0 * ends[0], 100.0 * ends[1]),
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points to the left of which none is as high, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def file_name(text: str) -> str:
    """Make a name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "plot"
