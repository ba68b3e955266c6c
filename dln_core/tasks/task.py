"""What a task is: its data, how it is presented to a network, and how an answer is judged."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from dln_core.config import require
from dln_core.tasks.answers import AnswerKind, judge
from dln_core.tasks.judges.custom import LLM, THRESHOLD, OwnJudge
from dln_core.types import Example, Splits

if TYPE_CHECKING:
    import anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge says of an answer.

    Attributes:
        is_right: Whether the answer is right.
        score: What the judge gives it, from 0 to 1; None unless the task is measured by scores.
        label: The label that it states, empty if it states none; None unless the task is measured
            by macro F1.
    """

    is_right: bool
    score: float | None = None
    label: str | None = None

    @property
    def worth(self) -> float:
        """What the answer is worth to training, from 0 to 1."""
        return float(self.is_right) if self.score is None else self.score

    def to_dict(self) -> dict[str, Any]:
        """Return what the task's metric reads, as plain JSON values."""
        values = {"correct": self.is_right, "score": self.score, "label": self.label}
        return {name: value for name, value in values.items() if value is not None}


class Grader(Protocol):
    """Scores answers by asking somebody, which takes time."""

    async def score(self, question: str, target: str, prediction: str) -> float:
        """Score the answer to a question from 0 to 1, in view of the right one."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return how it comes to its scores, as plain JSON values."""
        ...


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
        metric: What networks are compared by: ``accuracy``, ``macro_f1`` or ``mean_score``.
        grader: Asked in place of all judges, once the model that judges is open.
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
    metric: str = "accuracy"
    grader: Grader | None = None

    def __post_init__(self) -> None:
        require(
            self.metric != "macro_f1" or not self.asks_model,
            "task.metric=macro_f1 needs a judge that reads the label in an answer, but "
            "task.judge=llm tells right from wrong alone; take accuracy or mean_score",
        )
        require(
            self.metric != "macro_f1" or bool(self.labels),
            f"task.metric=macro_f1 is a mean over labels, of which {self.name} has none; take "
            "accuracy or mean_score",
        )

    def judge(self, prediction: str, target: str) -> bool:
        """Tell whether a model's raw output states the target.

        Args:
            prediction: The text that the answering layer wrote.
            target: The example's target.
        """
        if self.own_judge is not None:
            return self.own_judge(prediction, target) >= self.own_judge.threshold
        return judge(self.answer_kind, prediction, target, self.labels)

    @property
    def asks_model(self) -> bool:
        """Whether a language model judges."""
        return self.own_judge is not None and self.own_judge.name == LLM

    async def judged(self, prediction: str, example: Example) -> Verdict:
        """Judge a model's raw output, by the model that judges if there is one.

        A function of the user's runs in a thread, one call at a time.

        Raises:
            ConfigError: If a function of the user's fails.
            RequestError: If its endpoint refuses the request.
        """
        if self.grader is None:
            if self.own_judge is None or not self.own_judge.is_foreign:
                return self.verdict(prediction, example.target)
            return await _in_a_thread(self.verdict, prediction, example.target)
        # What is the right answer to the letter need not be asked about.
        if prediction.strip() == example.target.strip():
            return self._graded(1.0, THRESHOLD)
        score = await self.grader.score(example.input, example.target, prediction)
        return self._graded(score, THRESHOLD)

    def verdict(self, prediction: str, target: str) -> Verdict:
        """Judge a model's raw output as far as the task's metric asks for it.

        Args:
            prediction: The text that the answering layer wrote.
            target: The example's target.
        """
        if self.metric == "mean_score" and self.own_judge is not None:
            return self._graded(self.own_judge(prediction, target), self.own_judge.threshold)
        is_right = self.judge(prediction, target)
        if self.metric == "mean_score":
            return self._graded(float(is_right), THRESHOLD)
        if self.metric == "macro_f1":
            return Verdict(is_right=is_right, label=self._stated(prediction, target, is_right))
        return Verdict(is_right=is_right)

    def no_answer(self) -> Verdict:
        """Judge what was never answered."""
        return Verdict(
            is_right=False,
            score=0.0 if self.metric == "mean_score" else None,
            label="" if self.metric == "macro_f1" else None,
        )

    def _graded(self, score: float, threshold: float) -> Verdict:
        is_kept = self.metric == "mean_score"
        return Verdict(is_right=score >= threshold, score=score if is_kept else None)

    def _stated(self, prediction: str, target: str, is_right: bool) -> str:
        """The label that a raw output states, empty if there is none."""
        if is_right:
            return target
        others = (label for label in self.labels if label != target)
        return next((label for label in others if self.judge(prediction, label)), "")

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


async def _in_a_thread(
    judge: Callable[[str, str], Verdict], prediction: str, target: str
) -> Verdict:
    # Imported here: loading a task need not pay for it.
    import anyio.to_thread

    return await anyio.to_thread.run_sync(judge, prediction, target, limiter=_one_at_a_time())


@functools.cache
def _one_at_a_time() -> anyio.CapacityLimiter:
    # Who writes a judge need not think of threads.
    import anyio

    return anyio.CapacityLimiter(1)
