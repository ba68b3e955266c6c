"""Small plots by matplotlib: a panel each, as SVG that follows the page's colours, and as files.

Panels are drawn in the colours of a light page.  Within the page each of these becomes a variable
of its style sheet, so that a dark page recolours them; the files keep them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from orchestrator.files import journal_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Eight hues that remain apart for colour-blind readers; page.css has their dark counterparts.
SERIES = (
    "#2a6fbb", "#d1600a", "#1b8a6b", "#b03a78", "#7a5cc4", "#9a7400", "#4c8a1e", "#5d6b7a",
)  # fmt: skip
INK, MUTED, GRID, PAPER = "#1c2330", "#667085", "#e3e7ed", "#ffffff"
_VARIABLES = {
    **{color: f"var(--series-{index})" for index, color in enumerate(SERIES)},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
}
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
# Names of at most so many characters stand side by side in a legend.
_SHORT_NAME = 22
_WIDTH_IN, _HEIGHT_IN, _LEGEND_ROW_IN = 3.3, 2.35, 0.19
_PNG_DPI = 130
_SVG = "{http://www.w3.org/2000/svg}"
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # Fixed: to find a free place is a tenth of the drawing.
    "axes.titley": 1.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.left": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: the mean over seeds, and the seeds themselves, as lists of x and of y."""

    x: Sequence[float]
    y: Sequence[float]
    seeds: Sequence[tuple[Sequence[float], Sequence[float]]] = ()


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with the interval of its height, None where there is none."""

    x: float
    y: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot.

    Attributes:
        name: Of its files.
        title: What it shows, with the unit.
        x_label: Name of the horizontal axis.
        names: All series that the legend of the files names, which sets their colours.
        lines: Curves by name.
        levels: Heights by name, of what is not trained.
        dots: Points by name.
        front: Points that nothing beats, from left to right.
    """

    name: str
    title: str
    x_label: str
    names: Sequence[str]
    lines: dict[str, Line] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    dots: dict[str, list[Dot]] = field(default_factory=dict)
    front: Sequence[tuple[float, float]] = ()


def color_index(names: Sequence[str], name: str) -> int:
    """Return the place in the palette of a series."""
    return names.index(name) % len(SERIES)


@contextmanager
def plotting() -> Iterator[None]:
    """Prepare matplotlib, without a display and without touching its settings for others."""
    import matplotlib as mpl

    with mpl.rc_context(_RC):
        yield


def draw(panel: Panel, folder: Path) -> str:
    """Draw a panel into SVG and PNG files; return the SVG that belongs into the page.

    Raises:
        JournalError: If the file system refuses.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [n for n in panel.names if n in {**panel.lines, **panel.levels, **panel.dots}]
    num_columns = 2 if all(len(name) <= _SHORT_NAME for name in shown) else 1
    num_rows = -(-len(shown) // num_columns)
    band = _LEGEND_ROW_IN * num_rows + 0.1
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN + band))
    FigureCanvasAgg(figure)
    bottom = (0.45 + band) / (_HEIGHT_IN + band)
    height = (_HEIGHT_IN - 0.75) / (_HEIGHT_IN + band)
    axes = figure.add_axes((0.135, bottom, 0.84, height))
    _fill(axes, panel)
    _add_legend(figure, axes, num_rows, _LEGEND_ROW_IN / (_HEIGHT_IN + band))
    with mpl.rc_context({"svg.hashsalt": panel.name}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    path = folder / panel.name
    with journal_errors(folder):
        path.with_suffix(".svg").write_text(text.getvalue(), encoding="utf-8")
        figure.savefig(path.with_suffix(".png"), dpi=_PNG_DPI, pil_kwargs={"compress_level": 1})
    return _inline(text.getvalue(), band)


def _fill(axes: Axes, panel: Panel) -> None:
    from matplotlib.collections import LineCollection

    for name in panel.names:
        index = panel.names.index(name)
        style: dict[str, Any] = {
            "color": SERIES[index % len(SERIES)],
            "linestyle": _DASHES[index // len(SERIES) % len(_DASHES)],
        }
        if name in panel.levels:
            axes.axhline(panel.levels[name], label=name, lw=1.2, alpha=0.9, **style)
        if name in panel.lines:
            line = panel.lines[name]
            # One artist for all seeds: with many, artists are what drawing takes its time for.
            seeds = [list(zip(x, y, strict=True)) for x, y in line.seeds]
            axes.add_collection(LineCollection(seeds, lw=0.7, alpha=0.3, **style))
            mark = "o" if len(line.x) == 1 else None
            axes.plot(line.x, line.y, lw=1.8, label=name, marker=mark, ms=4, **style)
        for number, dot in enumerate(panel.dots.get(name, ())):
            if dot.interval is not None:
                axes.vlines(dot.x, *dot.interval, color=style["color"], lw=1.0, alpha=0.5)
            label = name if number == 0 else None
            axes.plot([dot.x], [dot.y], "o", ms=5, color=style["color"], label=label)
    if panel.front:
        x, y = zip(*panel.front, strict=True)
        axes.plot(x, y, drawstyle="steps-post", color=MUTED, lw=0.9, ls=(0, (3, 2)), zorder=0.5)
    axes.set_title(panel.title, pad=7)
    axes.set_xlabel(panel.x_label)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.xaxis.set_major_formatter(_short)
    axes.margins(x=0.04, y=0.12)
    axes.autoscale_view()


def _add_legend(figure: Figure, axes: Axes, num_rows: int, row_height: float) -> None:
    """Name the series below the plot: matplotlib's own legend takes a third of the drawing."""
    from matplotlib.lines import Line2D

    for number, (handle, name) in enumerate(zip(*axes.get_legend_handles_labels(), strict=True)):
        column, row = divmod(number, num_rows)
        x, y = 0.09 + 0.46 * column, (num_rows - row - 0.2) * row_height
        drawn = Line2D([x, x + 0.03, x + 0.06], [y] * 3, gid=f"legend-line{number}")
        drawn.update_from(handle)
        drawn.set(transform=figure.transFigure, clip_on=False, markevery=[1])
        figure.add_artist(drawn)
        figure.text(x + 0.08, y, name, fontsize=7.5, va="center", gid=f"legend-text{number}")


def _short(value: float, _: float) -> str:
    """Write a tick: 1,200 tokens as 1.2k."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _inline(svg: str, band_in: float) -> str:
    """Cut the legend's band off, drop what a page does not need, and let the page set colours."""
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    for group in [root, *root.iter(f"{_SVG}g")]:
        for child in list(group):
            is_legend = child.get("id", "").startswith("legend")
            if is_legend or child.tag.endswith("metadata"):
                group.remove(child)
        if group.tag.endswith("}g"):
            group.attrib.pop("id", None)
    width, height = 72 * _WIDTH_IN, 72 * _HEIGHT_IN
    root.attrib = {"viewBox": f"0 0 {width:g} {height:g}", "class": "plot", "role": "img"}
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"font: ([^;\"']*?)px [^;\"]*", r"font: \1px var(--sans)", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text
