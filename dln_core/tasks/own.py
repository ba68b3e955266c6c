"""A task of the user's own, made of pairs of inputs and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dln_core.config import require, require_choice
from dln_core.config.data import METRICS
from dln_core.errors import ConfigError
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.answers import judge as is_stated
from dln_core.tasks.judges.custom import Compare, OwnJudge, find_judge, judge_of
from dln_core.tasks.splits import digest, normalized
from dln_core.tasks.task import Task
from dln_core.types import Example, Splits

SPLITS = ("train", "dev", "test")
Pairs = Sequence[tuple[str, str]]


def make_task(
    instruction: str,
    pairs: Mapping[str, Pairs],
    *,
    labels: Sequence[str] = (),
    name: str = "own",
    max_answer_tokens: int = 32,
    answer_kind: AnswerKind | None = None,
    judge: str | Compare | None = None,
    metric: str = "accuracy",
) -> Task:
    """Make a task of pairs (input, answer).

    Args:
        instruction: The initial prompt.
        pairs: The splits ``train``, ``dev`` and ``test``; proposals see train alone, dev chooses
            the best network, test is looked at once.
        labels: The answers to choose from; none if the answer is free text.
        name: Name in results.
        max_answer_tokens: Tokens that suffice for an answer.
        answer_kind: How answers are compared; None compares labels, or else texts.
        judge: Compares answers in its place: what ``task.judge`` may be, or a function of a
            model's raw output and the right answer that returns True or False, or a score from
            0 to 1.
        metric: What networks are compared by: ``accuracy``, ``macro_f1`` or ``mean_score``.

    Raises:
        ConfigError: If a split is missing, an input stands in two splits, an answer is not among
            the labels, labels cannot be told apart, or there is no such judge or metric.
    """
    require_choice("metric", metric, METRICS)
    require(
        set(pairs) == set(SPLITS),
        f"the pairs have the splits {', '.join(pairs) or 'none'}; give train, dev and test",
    )
    splits = Splits(
        **{
            split: tuple(
                Example(id=f"{split}-{index}", input=text, target=answer, labels=tuple(labels))
                for index, (text, answer) in enumerate(pairs[split])
            )
            for split in SPLITS
        }
    )
    _check(name, splits)
    # A kind of answer is the name of a judge.
    task = task_of(name, instruction, splits, tuple(labels), judge or answer_kind)
    return replace(task, max_answer_tokens=max_answer_tokens, metric=metric)


def task_of(
    name: str,
    instruction: str,
    splits: Splits,
    labels: tuple[str, ...],
    judge: str | Compare | None,
) -> Task:
    """Make a task of examples that have been checked.

    Raises:
        ConfigError: If there is no such judge, or it cannot tell the labels apart.
    """
    kind, own_judge = judged_by(judge, labels)
    if own_judge is None and kind is AnswerKind.label:
        _check_labels(name, labels)
    return Task(
        name=name,
        kind="own",
        instruction=instruction,
        input_name="Input",
        output_name="Label" if labels else "Answer",
        labels=labels,
        splits=splits,
        digest=digest(splits, kind.value if own_judge is None else own_judge.name),
        answer_kind=kind,
        own_judge=own_judge,
        max_answer_tokens=32,
        licence="the user's",
        source="the user",
        notes="",
    )


def judged_by(
    judge: str | Compare | None, labels: Sequence[str]
) -> tuple[AnswerKind, OwnJudge | None]:
    """Return the kind of answer, and the judge, if any, that compares answers in its place.

    Raises:
        ConfigError: If there is no such judge.
    """
    kind = AnswerKind.label if labels else AnswerKind.text
    if judge is None:
        return kind, None
    if not isinstance(judge, str):
        return kind, judge_of(judge)
    return (AnswerKind(judge), None) if judge in set(AnswerKind) else (kind, find_judge(judge))


def _check_labels(name: str, labels: tuple[str, ...]) -> None:
    """Refuse labels that the judge does not read as themselves and as nothing else."""
    require(
        bool(labels),
        f"task.judge=label chooses among labels, of which {name} has none; list them with "
        "task.labels=[…], or choose another judge",
    )
    require(
        len({label.lower() for label in labels}) == len(labels),
        f"some labels of {name} ({', '.join(labels)}) differ in case alone, or not at all; make "
        "them distinct",
    )
    for label in labels:
        # Of labels that differ in more than case, no text is read as two.
        if is_stated(kind := AnswerKind.label, label, label, labels):
            continue
        read = next((other for other in labels if is_stated(kind, label, other, labels)), None)
        raise ConfigError(
            f"the answer {label!r:.40} of {name} is read as "
            f"{'none of its labels' if read is None else repr(read)}; rename one of the labels, or "
            "choose another judge"
        )


def _check(name: str, splits: Splits) -> None:
    homes: dict[str, str] = {}
    for split in SPLITS:
        for example in getattr(splits, split):
            home = homes.setdefault(normalized(example.input), split)
            require(
                home == split,
                f"{example.input!r:.80} stands in {home} and in {split} of {name}, so accuracy "
                "would flatter; keep it in one split",
            )
            require(
                not example.labels or example.target in example.labels,
                f"{example.input!r:.80} of {name} has the answer {example.target!r}, which is not "
                f"among the labels ({', '.join(example.labels)}); correct one of them",
            )
