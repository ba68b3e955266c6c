"""A task of the user's own, made of pairs of inputs and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dln_core.config import require
from dln_core.tasks.answers import AnswerKind
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

    Raises:
        ConfigError: If a split is missing, an input stands in two splits, or an answer is not
            among the labels.
    """
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
    kind = answer_kind or (AnswerKind.label if labels else AnswerKind.text)
    return Task(
        name=name,
        kind="own",
        instruction=instruction,
        input_name="Input",
        output_name="Label" if labels else "Answer",
        labels=tuple(labels),
        splits=splits,
        digest=digest(splits, kind.value),
        answer_kind=kind,
        max_answer_tokens=max_answer_tokens,
        licence="the user's",
        source="the user",
        notes="",
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
