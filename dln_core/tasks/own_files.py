"""A task read from the user's own files: CSV, JSON lines, or a Hugging Face data set on disk.

Every row is used or reported with its line; none is dropped in silence.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dln_core.config import TaskConfig
from dln_core.errors import ConfigError, DataError
from dln_core.tasks.answers import AnswerKind, judge
from dln_core.tasks.huggingface import read_table
from dln_core.tasks.own import SPLITS, judged_by, task_of
from dln_core.tasks.rows import (
    SPLIT_NAMES,
    Problems,
    Row,
    data_files,
    read_csv,
    read_jsonl,
)
from dln_core.tasks.splits import carve, in_fixed_order, normalized
from dln_core.tasks.task import Task
from dln_core.types import Example, Splits

# Where labels are not listed: more of them, or fewer rows a label, are answers to write.
MAX_LABELS = 20
MIN_ROWS_PER_LABEL = 5
YAML_TRUTH_VALUES = ("yes", "no", "on", "off", "true", "false")
# Splits that are made: half train, a quarter dev, a quarter test.
TRAIN_SHARE = 0.5
DEV_SHARE = 0.25
# Dev, where train and test alone are given.
DEV_SHARE_OF_TRAIN = 1 / 3
# All own tasks are cut by one order, so that another name does not move the items.
_ORDER = "own"


@dataclass(frozen=True, slots=True)
class _Item:
    """One row as it is used; ``split`` is empty where none is given."""

    place: str
    split: str
    input: str
    target: str


def load_own(config: TaskConfig) -> Task:
    """Read the task that the settings describe.

    Raises:
        ConfigError: If there is no such judge, it cannot tell the labels apart, or these are truth
            values.
        DataError: If a file cannot be read, or rows are bad; they are named by their lines.
    """
    path, problems = Path(config.path or ""), Problems()
    items = list(_items(config, path, problems))
    labels = _labels(config, items, problems)
    _check_case(path, labels)
    _check_targets(config, items, labels, problems)
    _check_homes(items, problems)
    problems.check(path)
    splits = _splits(path, items, labels)
    instruction = _instruction(labels) if config.instruction is None else config.instruction
    task = task_of(config.name, instruction, splits, labels, config.judge)
    # A token is about four letters; twice as many leave room for words around the answer.
    longest = max(len(item.target) for item in items) // 2
    return replace(task, max_answer_tokens=max(task.max_answer_tokens, longest), source=str(path))


def _items(config: TaskConfig, path: Path, problems: Problems) -> Iterator[_Item]:
    for file_split, row in _rows(config, path, problems):
        text, target = row.text(config.input or ""), row.text(config.label or "")
        split = file_split
        if config.split is not None:
            named = row.text(config.split)
            split = SPLIT_NAMES.get(named.lower(), "")
            if not split:
                problems.add(
                    row.place, f"{config.split} is {named!r:.40}, which is none of train, dev, test"
                )
        for name, value in ((config.input, text), (config.label, target)):
            if not value:
                problems.add(row.place, f"{name} is {'empty' if name in row.fields else 'missing'}")
        if text and target:
            yield _Item(row.place, split, text, target)


def _rows(config: TaskConfig, path: Path, problems: Problems) -> Iterator[tuple[str, Row]]:
    """Yield the rows of all files, each with the split that its file is named after."""
    wanted = [name for name in (config.input, config.label, config.split) if name is not None]
    for split, file in data_files(path, config.format or ""):
        match config.format:
            case "csv":
                rows = read_csv(file, wanted, problems)
            case "jsonl":
                rows = read_jsonl(file, problems)
            case _:
                rows = read_table(file, wanted, problems)
        yield from ((split, row) for row in rows)


def _labels(config: TaskConfig, items: Sequence[_Item], problems: Problems) -> tuple[str, ...]:
    """The labels as listed, or as the data has them; none if answers are free text."""
    counts = Counter(item.target for item in items)
    if config.labels is not None:
        _check_truth_values(config.labels, counts)
        for item in items:
            if config.labels and item.target not in config.labels:
                known = ", ".join(config.labels)
                problems.add(item.place, f"label {item.target!r:.40} is not among {known}")
        return tuple(config.labels)
    is_few = len(counts) <= min(MAX_LABELS, len(items) // MIN_ROWS_PER_LABEL)
    if len(counts) < 2 or config.judge not in (None, "label") or not is_few:
        return ()
    for item in items:
        if counts[item.target] == 1:
            problems.add(
                item.place,
                f"label {item.target!r:.40} occurs here alone; correct it, or list all labels: "
                f"task.labels=[{','.join(sorted(counts))}]",
            )
    return tuple(sorted(counts))


def _check_truth_values(labels: Sequence[str], answers: Iterable[str]) -> None:
    """Tell labels that YAML took for truth values, which say nothing of the rows, as what they are.

    A composed configuration holds them as the texts True and False.
    """
    for answer in answers:
        read = str(answer.lower() in ("yes", "on", "true"))
        if answer not in labels and read in labels and answer.lower() in YAML_TRUTH_VALUES:
            raise ConfigError(
                f"task.labels holds {read}, but the data has {answer}: without quotes, YAML reads "
                f"{answer} as {read}; quote them: ['Yes', 'No']"
            )


def _check_case(path: Path, labels: tuple[str, ...]) -> None:
    """Refuse labels that no judge could tell apart."""
    first: dict[str, str] = {}
    for label in labels:
        other = first.setdefault(label.lower(), label)
        if other != label:
            raise DataError(
                f"{path.name}: the labels {other!r} and {label!r} differ in case alone; write them "
                "alike"
            )


def _check_targets(
    config: TaskConfig, items: Iterable[_Item], labels: tuple[str, ...], problems: Problems
) -> None:
    """Note answers that the judge could never accept."""
    kind, own_judge = judged_by(config.judge, labels)
    # Labels are looked at once and not row by row, where the task is made.
    if own_judge is None and kind is AnswerKind.label:
        return
    for item in items:
        if own_judge is not None:
            reason = own_judge.problem_with(item.target)
        elif judge(kind, item.target, item.target):
            reason = None
        else:
            reason = f"the answer {item.target!r:.40} cannot be read as {kind.value}"
        if reason is not None:
            problems.add(item.place, reason)


def _check_homes(items: Iterable[_Item], problems: Problems) -> None:
    """Note inputs that stand in two splits, which would flatter."""
    homes: dict[str, _Item] = {}
    for item in items:
        home = homes.setdefault(normalized(item.input), item)
        if home.split != item.split:
            problems.add(
                item.place, f"in {item.split} has the input of {home.place}, in {home.split}"
            )


def _splits(path: Path, items: Sequence[_Item], labels: tuple[str, ...]) -> Splits:
    pools: dict[str, list[Example]] = defaultdict(list)
    for item, example in zip(items, _examples(items, labels), strict=True):
        pools[item.split].append(example)
    if set(pools) <= {""}:
        pool = pools[""]
        sizes = (int(len(pool) * TRAIN_SHARE), int(len(pool) * DEV_SHARE))
        parts = dict(zip(SPLITS, carve(_ORDER, pool, sizes), strict=True))
    else:
        if "dev" not in pools:
            size = int(len(pools["train"]) * DEV_SHARE_OF_TRAIN)
            pools["dev"], pools["train"] = map(list, carve(_ORDER, pools["train"], (size,)))
        parts = {split: tuple(in_fixed_order(_ORDER, pools[split])) for split in SPLITS}
    empty = [split for split in SPLITS if not parts[split]]
    if empty:
        raise DataError(
            f"{path.name} has {len(items)} rows, none of them for {', '.join(empty)}; give more "
            "rows, and rows for train and test where you give splits"
        )
    return Splits(**parts)


def _examples(items: Iterable[_Item], labels: tuple[str, ...]) -> Iterator[Example]:
    """Yield examples named by their content, so that moved rows stay the same examples."""
    seen: Counter[str] = Counter()
    for item in items:
        content = hashlib.sha256(f"{item.input}\n{item.target}".encode()).hexdigest()[:12]
        seen[content] += 1
        name = content if seen[content] == 1 else f"{content}-{seen[content]}"
        yield Example(id=name, input=item.input, target=item.target, labels=labels)


def _instruction(labels: tuple[str, ...]) -> str:
    if not labels:
        return "Read the input and write the answer."
    return f"Read the input and choose its label: {', '.join(labels[:-1])} or {labels[-1]}."
