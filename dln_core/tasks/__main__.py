"""``python -m dln_core.tasks``: list the tasks, show one, fetch their data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from dln_core.commands import exit_code
from dln_core.config import DataConfig, TaskConfig
from dln_core.config.data import FORMATS
from dln_core.config.reading import config_from
from dln_core.errors import ConfigError, DataError
from dln_core.tasks import generated
from dln_core.tasks.cards import Card
from dln_core.tasks.download import fetch
from dln_core.tasks.registry import files_of, find_card, load_task, task_names
from dln_core.tasks.sources import Source, data_folder, licence_of, origin_of, sources
from dln_core.tasks.task import Task

EXAMPLES_SHOWN = 3
PIPED_WIDTH = 240
# Of the table of all tasks; where a terminal is too narrow, the last are left out.
HEADINGS = ("name", "kind", "train / dev / test", "labels", "licence", "source")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    chosen = _parser().parse_args(arguments)
    return exit_code(lambda: _carry_out(chosen))


def _carry_out(chosen: argparse.Namespace) -> None:
    # Piped output is read by programs, which want each task on a line.
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    if chosen.command == "list":
        _show_all(console, chosen.data_dir)
    elif chosen.command == "show":
        _show(console, _task_config(chosen.name, chosen.settings), chosen.data_dir)
    else:
        _fetch(console, chosen.names, data_folder(chosen.data_dir))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dln_core.tasks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--data-dir", metavar="FOLDER", help="data folder (default: DLN_DATA_DIR, or the cache)"
    )
    commands.add_parser("list", parents=[folder], help="all tasks, their sizes and licences")
    show = commands.add_parser("show", parents=[folder], help="a task and examples of it")
    show.add_argument("name", help=f"a task, or {', '.join(FORMATS)} for data of your own")
    show.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE",
        help="as for a run, e.g. split=paper_code, or path=mine.csv input=text label=answer",
    )
    download = commands.add_parser("fetch", parents=[folder], help="download the data of tasks")
    download.add_argument("names", nargs="+", metavar="NAME", help="a task, or all")
    return parser


def _show_all(console: Console, folder: str | None) -> None:
    rows = [_row(name, folder) for name in task_names()]
    unbounded = console.options.update(max_width=sys.maxsize)
    for num_columns in range(len(HEADINGS), 2, -1):
        table = _overview(rows, num_columns)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    console.print(table)
    if left_out := HEADINGS[num_columns:]:
        console.print(f"In a wider terminal, or for one task by 'show NAME': {', '.join(left_out)}")


def _overview(rows: Iterable[Sequence[str]], num_columns: int) -> Table:
    table = Table(title="Tasks")
    for heading in HEADINGS[:num_columns]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row[:num_columns]))
    return table


def _row(name: str, folder: str | None) -> tuple[str, ...]:
    card, files = find_card(name), files_of(name)
    try:
        sizes, labels = _outline(card, folder)
    except DataError:
        sizes, labels = "absent or damaged", ", ".join(card.labels)
    return name, card.kind, sizes, labels, licence_of(files), origin_of(files)


def _outline(card: Card, folder: str | None) -> tuple[str, str]:
    """Sizes and labels of a task."""
    if card.kind == "generated":
        sizes, labels = generated.outline(card)
        return _joined(sizes), _labels(labels, card.answer)
    task = load_task(TaskConfig(name=card.name), DataConfig(dir=folder))
    return _sizes(task), _labels(task.labels, task.judge_name)


def _sizes(task: Task) -> str:
    return _joined(map(len, (task.splits.train, task.splits.dev, task.splits.test)))


def _joined(sizes: Iterable[int]) -> str:
    return " / ".join(map(str, sizes))


def _labels(labels: Sequence[str], judge_name: str) -> str:
    if not labels:
        return f"free ({judge_name})"
    if labels[0] == "(A)":
        return f"(A) to {labels[-1]}"
    return ", ".join(labels)


def _task_config(name: str, settings: Sequence[str]) -> TaskConfig:
    """The settings of a task as a run takes them, with or without ``task.`` before the key."""
    values: dict[str, object] = {"name": name}
    if name in FORMATS:
        values["format"] = name
    for setting in settings:
        key, is_set, value = setting.removeprefix("task.").partition("=")
        if not is_set:
            raise ConfigError(f"{setting} is no setting; write KEY=VALUE, e.g. path=mine.csv")
        values[key] = _listed(value) if key == "labels" else value
    return config_from(TaskConfig, values)


def _listed(value: str) -> list[str]:
    """The items of a list as it is written on the command line; ``[]`` has none."""
    inner = value.removeprefix("[").removesuffix("]")
    return inner.split(",") if inner else []


def _show(console: Console, config: TaskConfig, folder: str | None) -> None:
    task = load_task(config, DataConfig(dir=folder))
    facts = {
        "kind": task.kind,
        "train / dev / test": _sizes(task),
        "labels": _labels(task.labels, task.judge_name),
        "judge": task.judge_name,
        "metric": task.metric,
        "licence": task.licence,
        "source": task.source,
        "notes": task.notes or "none",
        "digest": task.digest,
        "instruction": task.instruction,
    }
    table = Table(title=task.name, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, escape(value))
    console.print(table)
    for split in ("train", "dev", "test"):
        for example in getattr(task.splits, split)[:EXAMPLES_SHOWN]:
            text = f"{task.input_name}: {example.input}\n{task.output_name}: {example.target}"
            console.print(Panel(escape(text), title=f"{split} {escape(example.id)}"))


def _fetch(console: Console, names: Sequence[str], folder: Path) -> None:
    chosen = task_names() if "all" in names else names
    wanted: dict[str, Source] = {
        path: sources()[path] for name in chosen for path in files_of(name)
    }
    columns = (TextColumn("data"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("data", total=sum(source.bytes for source in wanted.values()))

        async def run() -> int:
            return await fetch(
                wanted.values(), folder, on_bytes=lambda count: progress.advance(bar, count)
            )

        count = anyio.run(run)
    console.print(f"{count} of {len(wanted)} files downloaded, all verified: {folder}")


if __name__ == "__main__":
    sys.exit(main())
