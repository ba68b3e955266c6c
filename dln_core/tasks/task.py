"""What a task is: its data, how it is presented to a network, and how an answer is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dln_core.tasks.answers import AnswerKind, judge
from dln_core.tasks.judges.custom import OwnJudge
from dln_core.types import Example, Splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it is trained and tested on.

    Attributes:
        name: Name on the command line.
        kind: Family: ``bbh``, ``paper``, ``gsm8k``, ``generated`` or ``own``.
        instruction: The initial prompt.
        input_name: Name of the field that the input is shown in.
        output_name: Name of the field that the answer is written in.
        labels: All answers that an example of the task may offer; empty for free text.  The
            choices of one item are the ``labels`` of its example.
        splits: The disjoint parts of the data.
        digest: SHA-256 (hex) over the examples and the answer kind.
        max_answer_tokens: Tokens that suffice for a direct answer.
        licence: Licence of the data, as its source states it.
        source: Where the data comes from.
        notes: What a user should know of the data.
        answer_kind: How answers are read and compared.
        own_judge: Compares answers in its place.
    """

    name: str
    kind: str
    instruction: str
    input_name: str
    output_name: str
    labels: tuple[str, ...]
    splits: Splits
    digest: str
    max_answer_tokens: int
    licence: str
    source: str
    notes: str
    answer_kind: AnswerKind = AnswerKind.text
    own_judge: OwnJudge | None = None

    def judge(self, prediction: str, target: str) -> bool:
        """Tell whether a model's raw output states the target.

        Args:
            prediction: The text that the answering layer wrote.
            target: The example's target.
        """
        if self.own_judge is not None:
            return self.own_judge(prediction, target)
        return judge(self.answer_kind, prediction, target, self.labels)

    @property
    def judge_name(self) -> str:
        """What verdicts depend on: the own judge, else the kind of answer."""
        return self.answer_kind.value if self.own_judge is None else self.own_judge.name

    def without_label_scores(self) -> Task:
        """The task for a model whose answers must be written: no example offers its labels."""
        splits = self.splits

        def bare(examples: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(replace(example, labels=()) for example in examples)

        return replace(
            self,
            splits=Splits(train=bare(splits.train), dev=bare(splits.dev), test=bare(splits.test)),
        )

    @property
    def is_classification(self) -> bool:
        """Whether every example offers labels to choose from."""
        splits = self.splits
        return all(example.labels for example in (*splits.train, *splits.dev, *splits.test))
