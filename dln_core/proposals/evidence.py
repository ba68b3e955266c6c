"""What proposals learn from, and what they arrive at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dln_core.errors import RequestError
from dln_core.types import Demonstration, Prompt


@dataclass(frozen=True, slots=True)
class Case:
    """What a layer read, what it wrote, and what it should have written.

    Attributes:
        body: What it read.
        output: What it wrote.
        target: What it should have written.
        source: The input of the network in the body, as the data has it.
    """

    body: str
    output: str
    target: str
    source: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the output needs no correction."""
        return self.output == self.target


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proposals learn from: training examples alone.

    Attributes:
        cases: Inputs with what the layer wrote on them; the backward model is shown these.
        shots: Inputs with the output wanted; worked examples are drawn from these.
        labels: The answers to choose from; empty for free text.
    """

    cases: tuple[Case, ...]
    shots: tuple[Demonstration, ...]
    labels: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[Demonstration, ...]:
        """The cases' inputs with the outputs wanted, whatever the layer wrote."""
        return tuple(Demonstration(case.body, case.target) for case in self.cases)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt that may become a layer's next one.

    Attributes:
        prompt: The prompt.
        source: ``current``, ``memory``, or the kind of the proposal that made it.
    """

    prompt: Prompt
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What came of a number of proposals: each is a candidate or was refused.

    Attributes:
        candidates: New, distinct candidates, by kind in the order of the mix.
        refused: Reason -> how many proposals were refused for it, in alphabetical order.
        num_shrunk: How often a request was sent again with fewer cases, because it was longer
            than the model's context.
        failures: Requests that the endpoint refused, in the order of the proposals.
    """

    candidates: tuple[Candidate, ...]
    refused: dict[str, int]
    num_shrunk: int
    failures: Sequence[RequestError] = ()
