"""The results table for papers: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.files import write_atomic
from orchestrator.report.methods import Cell, Methods
from orchestrator.report.rendering import NONE, percent

_COLUMNS = (
    "task", "method", "setting", "kind", "num_seeds", "mean", "low", "high", "mean_dev",
)  # fmt: skip
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$",
    NONE: "--",
}  # fmt: skip


def write_tables(folder: Path, methods: Methods, references: dict[str, dict[str, float]]) -> None:
    """Write ``table.csv`` (a row a task and method), ``table.md`` and ``table.tex``.

    Args:
        folder: Where to.
        methods: What was chosen on dev.
        references: By task, the values of its reference points by name.

    Raises:
        JournalError: If the file system refuses.
    """
    write_atomic(folder / "table.csv", _csv(methods, references))
    names = list(dict.fromkeys(name for row in references.values() for name in row))
    head = ["task", *methods.names, *(name.replace("_", " ") for name in names)]
    write_atomic(folder / "table.md", _markdown(head, _rows(methods, references, names, _plain)))
    write_atomic(folder / "table.tex", _latex(head, _rows(methods, references, names, _dollars)))


def _rows(
    methods: Methods,
    references: dict[str, dict[str, float]],
    names: Sequence[str],
    write: Callable[[Cell], str],
) -> list[list[str]]:
    rows = []
    for task in methods.tasks:
        cells = [methods.chosen.get((task, method)) for method in methods.names]
        shown = [NONE if cell is None or not cell.values else write(cell) for cell in cells]
        rows.append([task, *shown, *(percent(references[task].get(name)) for name in names)])
    return rows


def _plain(cell: Cell) -> str:
    if cell.interval is None:
        return f"{percent(cell.mean)} ({cell.note})"
    low, high = cell.interval
    return f"{percent(cell.mean)} [{percent(low)}, {percent(high)}] ({cell.note})"


def _dollars(cell: Cell) -> str:
    if cell.interval is None:
        return percent(cell.mean)
    low, high = cell.interval
    return f"{percent(cell.mean)} [{percent(low)}, {percent(high)}]"


def _csv(methods: Methods, references: dict[str, dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for task in methods.tasks:
        for method in methods.names:
            cell = methods.chosen.get((task, method))
            if cell is None or not cell.values:
                continue
            low, high = cell.interval or ("", "")
            kind = "trained" if cell.is_trained else "untrained"
            figures = (len(cell.values), cell.mean, low, high, cell.dev)
            writer.writerow((task, method, cell.setting, kind, *figures))
        for name, value in references[task].items():
            writer.writerow((task, name, "", "reference", "", value, "", "", ""))
    return text.getvalue()


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = [" & ".join(map(_escaped, line)) + r" \\" for line in (head, *rows)]
    return "\n".join(
        [
            "% Test values in percent: mean over seeds with Student's 95 % interval.",
            "% Needs \\usepackage{booktabs}.",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(character, character) for character in text)
