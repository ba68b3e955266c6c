"""From a task's name to its data, ready to train on."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from dln_core.config import DataConfig, TaskConfig, require, require_choice
from dln_core.errors import ConfigError
from dln_core.tasks import bbh, generated, gsm8k, nlu
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.cards import Card, cards
from dln_core.tasks.own import judged_by
from dln_core.tasks.own_files import load_own
from dln_core.tasks.sources import DataReader, data_folder, licence_of, origin_of
from dln_core.tasks.splits import digest, truncated
from dln_core.tasks.task import Task
from dln_core.types import Splits


@dataclass(frozen=True, slots=True)
class _Family:
    files: Callable[[str], tuple[str, ...]]
    read: Callable[[Card, DataReader], Splits]


_FAMILIES = {
    "bbh": _Family(bbh.files, bbh.read),
    "paper": _Family(nlu.files, nlu.read),
    "gsm8k": _Family(gsm8k.files, gsm8k.read),
    "generated": _Family(generated.files, generated.read),
}


def task_names() -> list[str]:
    """Return the names of all tasks, family by family."""
    return list(cards())


def find_card(name: str) -> Card:
    """Return a task's card.

    Raises:
        ConfigError: If there is no such task; the message proposes near names.
    """
    found = cards().get(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name, task_names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "choose another"
    raise ConfigError(f"task={name} is unknown; {hint} (python -m dln_core.tasks list shows all)")


def files_of(name: str) -> tuple[str, ...]:
    """Return the pinned data files that a task reads; none for a generated task.

    Raises:
        ConfigError: If there is no such task.
    """
    return _FAMILIES[find_card(name).kind].files(name)


def load_task(task: TaskConfig, data: DataConfig) -> Task:
    """Read or generate a task's data; nothing is downloaded.

    Args:
        task: Which task, or which files of the user's own; its ``instruction`` replaces the task's.
        data: Where data lies and how much of each split to keep.

    Raises:
        ConfigError: If there is no such task, split or judge, or the metric does not suit it.
        DataError: If a data file is missing or not the pinned version, or rows of it are bad.
    """
    loaded = load_own(task) if task.format is not None else _load_known(task, data)
    splits = truncated(loaded.splits, data.max_train, data.max_dev, data.max_test)
    return replace(
        loaded,
        splits=splits,
        digest=digest(splits, loaded.judge_name),
        metric=task.metric,
    )


def _load_known(task: TaskConfig, data: DataConfig) -> Task:
    card = find_card(task.name)
    files = files_of(task.name)
    splits, notes = _read(card, DataReader(data_folder(data.dir), task.name), task.split)
    kind, own_judge = judged_by(task.judge or card.answer, card.labels)
    known = Task(
        name=card.name,
        kind=card.kind,
        instruction=card.instruction if task.instruction is None else task.instruction,
        input_name=card.input_name,
        output_name=card.output_name,
        labels=card.labels or _labels_in(splits),
        splits=splits,
        # The caller knows which items are kept.
        digest="",
        answer_kind=kind,
        own_judge=own_judge,
        max_answer_tokens=card.max_answer_tokens,
        licence=licence_of(files),
        source=origin_of(files),
        notes=notes,
    )
    if task.judge in set(AnswerKind):
        _check_judge(known)
    return known


def _check_judge(task: Task) -> None:
    """Refuse a kind of answer that the task's answers are not."""
    for example in task.splits.train:
        require(
            task.judge(example.target, example.target),
            f"task.judge={task.judge_name} cannot read {example.target!r:.40}, an answer of "
            f"{task.name}; choose another judge",
        )


def _read(card: Card, reader: DataReader, split: str | None) -> tuple[Splits, str]:
    """The splits of a task, and what a user should know of them."""
    if split == "paper_code":
        require(
            card.name in nlu.NAMES,
            f"task.split=paper_code is the split of the paper's public code, which does not have "
            f"{card.name}; it has {', '.join(nlu.NAMES)}",
        )
        # It brings numpy, which a mistaken setting need not pay for.
        from dln_core.tasks import published

        splits = published.read(card, reader)
        return splits, published.shared(splits)
    require_choice("task.split", split or "paper", ("paper", "paper_code"))
    return _FAMILIES[card.kind].read(card, reader), card.notes


def _labels_in(splits: Splits) -> tuple[str, ...]:
    everything = (*splits.train, *splits.dev, *splits.test)
    return tuple(sorted({label for example in everything for label in example.labels}))
