"""Planted worlds: simulated models whose best prompts are known to the tests alone.

The task is to name the parity of a number.  The model knows how to, but does so only under a
prompt that contains a key sentence; proposals are drawn from a pool in which such a sentence is
one of many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dln_core.llm.base import Request
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.task import Task
from dln_core.types import Example, Splits

LABELS = ("Even", "Odd")
ANSWER_KEY = "Even or Odd? Look at the last digit."
HIDDEN_KEY = "Even or Odd? Say which kind of number it is."
POOL = tuple(f"Even or Odd? Mind the weather on day {day}." for day in range(20))
SURE = 0.97


def parity_task(num_train: int = 120, num_dev: int = 40, num_test: int = 100) -> Task:
    """A task without any data file: numbers, balanced over their parity, shared by no split."""
    numbers = iter(range(100, 100 + num_train + num_dev + num_test))

    def take(count: int) -> tuple[Example, ...]:
        chosen = [next(numbers) for _ in range(count)]
        return tuple(
            Example(id=str(n), input=f"the number {n}", target=LABELS[n % 2], labels=LABELS)
            for n in chosen
        )

    splits = Splits(train=take(num_train), dev=take(num_dev), test=take(num_test))
    return Task(
        name="parity",
        kind="toy",
        instruction="Say Even or Odd.",
        input_name="Item",
        output_name="Label",
        labels=LABELS,
        splits=splits,
        digest="parity",
        answer_kind=AnswerKind("label"),
        max_answer_tokens=4,
        licence="",
        source="",
        notes="",
    )


class OneStepWorld:
    """Answers rightly under a prompt with the answer key, else always leans to one label."""

    def distribution(self, request: Request) -> Mapping[str, float]:
        text = "\n".join(message.text for message in request.messages)
        if _is_proposal(text):
            return _proposals(ANSWER_KEY)
        return _answer(_number(text), knows=ANSWER_KEY in text)


class HiddenStepWorld:
    """Answers rightly only from a hidden text that names the parity.

    The first layer writes such a text under a prompt with the hidden key, or when told the answer.
    """

    def distribution(self, request: Request) -> Mapping[str, float]:
        text = "\n".join(message.text for message in request.messages)
        if _is_proposal(text):
            return _proposals(HIDDEN_KEY)
        if not text.endswith("Label:"):
            return self.hidden(text)
        named = re.search(r"it is (even|odd)", text)
        if named is None:
            return {"Even": 0.6, "Odd": 0.4}
        right = named[1].capitalize()
        return {label: SURE if label == right else 1 - SURE for label in LABELS}

    def hidden(self, text: str) -> dict[str, float]:
        """Distribution over the four hidden texts."""
        number, told = _number(text), re.search(r"arrive at: (Even|Odd)", text)
        right = told[1].lower() if told else LABELS[number % 2].lower()
        wrong = "odd" if right == "even" else "even"
        if HIDDEN_KEY in text or told:
            return {f"it is {right}": 0.9, f"it is {wrong}": 0.02, "it is big": 0.04, "hm": 0.04}
        return {f"it is {right}": 0.05, f"it is {wrong}": 0.05, "it is big": 0.5, "hm": 0.4}


def _is_proposal(text: str) -> bool:
    return text.endswith("Improved instruction:")


def _proposals(key: str) -> dict[str, float]:
    sentences = (*POOL, key)
    return dict.fromkeys(sentences, 1 / len(sentences))


def _number(text: str) -> int:
    return int(re.findall(r"the number (\d+)", text)[-1])


def _answer(number: int, *, knows: bool) -> dict[str, float]:
    if not knows:
        return {"Even": 0.6, "Odd": 0.4}
    return {label: SURE if label == LABELS[number % 2] else 1 - SURE for label in LABELS}
