"""The values that every part of the core shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What a call to the language model is made for; tokens and money are counted by it."""

    forward = "forward"
    posterior = "posterior"
    proposal = "proposal"
    score = "score"
    dev = "dev"
    test = "test"
    judge = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One item of a task.

    Attributes:
        id: Stable name within the task, the same in every run.
        input: What the network reads.
        target: The right answer.
        labels: The answers to choose from; empty if the answer is free text.
        source: Name of the paragraph, template or core sentence that the item comes from; items
            that share it stay within one split.
    """

    id: str
    input: str
    target: str
    labels: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked example inside a prompt: an input and the output wanted for it."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The parameter of a language layer: an instruction and an ordered list of demonstrations."""

    instruction: str
    demonstrations: tuple[Demonstration, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the prompt as plain JSON values."""
        shown = [{"input": d.input, "output": d.output} for d in self.demonstrations]
        return {"instruction": self.instruction, "demonstrations": shown}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Prompt:
        """Read what ``to_dict`` wrote."""
        shown = tuple(Demonstration(d["input"], d["output"]) for d in values["demonstrations"])
        return cls(values["instruction"], shown)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; ``role`` is ``user``, ``assistant`` or ``system``."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the endpoint counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The three disjoint parts of a task's data."""

    train: tuple[Example, ...] = field(default=())
    dev: tuple[Example, ...] = field(default=())
    test: tuple[Example, ...] = field(default=())
