"""A proposal before it is written: what the backward model is asked, and what becomes of it.

Every random choice is made when a plan is made, before anything is sent, so that candidates do
not depend on the order in which answers arrive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from dln_core.config import ProposalConfig
from dln_core.errors import ContextLengthError, RequestError
from dln_core.llm.base import GenerateRequest, LanguageModel
from dln_core.proposals.evidence import Case, Evidence
from dln_core.templates import load_template
from dln_core.types import Demonstration, Prompt, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All that proposals for one prompt are made of.

    Attributes:
        output_name: Field name of what the layer writes.
        parents: Prompts to start from, one or more.
        evidence: Training cases, worked examples and labels.
        config: Bounds and sampling.
    """

    output_name: str
    parents: tuple[Prompt, ...]
    evidence: Evidence
    config: ProposalConfig

    def parent(self, rng: np.random.Generator) -> Prompt:
        """Draw a parent: half the time the first one, which is the current prompt, else any.

        Drawn uniformly, most proposals would build on remembered prompts that are worse.
        """
        any_of_them = int(rng.integers(len(self.parents)))
        return self.parents[any_of_them if rng.random() < 0.5 else 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One text that the backward model is to write.

    Attributes:
        template: Name of the backward template.
        values: What it is filled with, apart from the cases.
        shown: Lists of cases or pairs, by their name in the template.
        max_tokens: Upper bound on the text, in tokens.
        temperature: Sampling temperature.
        seed: Seed of this sample.
        needs_shown: Whether the request makes no sense without any case.
        heading: If given, the text is a single line to be put after this heading.
    """

    template: str
    values: Mapping[str, Any]
    shown: Mapping[str, tuple[Case | Demonstration, ...]] = field(default_factory=dict)
    max_tokens: int
    temperature: float
    seed: int
    needs_shown: bool = False
    heading: str | None = None

    def read(self, text: str) -> str:
        """Return what the model wrote without what it put around it."""
        return clean(text) if self.heading is None else clean_line(text, self.heading)

    def request(self) -> GenerateRequest:
        """Return what is sent."""
        values = {**self.values, **self.shown, "body": ""}
        return GenerateRequest(
            messages=load_template(self.template).messages(Prompt(""), **values),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            role=Role.proposal,
        )

    def shrunk(self) -> Draft | None:
        """Show half of each list: at last one each, then none; None if nothing can be left out."""
        longest = max(map(len, self.shown.values()), default=0)
        if longest == 0 or (longest == 1 and self.needs_shown):
            return None
        fewer = {
            name: cases[: max(1, len(cases) // 2) if longest > 1 else 0]
            for name, cases in self.shown.items()
        }
        return replace(self, shown=fewer)


@dataclass(frozen=True, slots=True)
class Written:
    """What came back for a draft.

    Attributes:
        text: The cleaned text, or the refusal that came in its place.
        num_shrunk: How often it was sent again with fewer cases.
    """

    text: str | RequestError
    num_shrunk: int


async def write(model: LanguageModel, draft: Draft) -> Written:
    """Let the model write a draft, with fewer cases shown if they do not fit.

    Raises:
        LLMError: If the request failed for another reason than what it says.
    """
    num_shrunk = 0
    while True:
        try:
            response = await model.send(draft.request())
        except RequestError as error:
            fewer = draft.shrunk() if isinstance(error, ContextLengthError) else None
            if fewer is None:
                return Written(error, num_shrunk)
            draft, num_shrunk = fewer, num_shrunk + 1
        else:
            return Written(draft.read(response.choices[0].text), num_shrunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A candidate to be.

    Attributes:
        base: The prompt whose instruction is replaced by what is written; without drafts it is
            the candidate already.
        drafts: The texts to write.
        compose: Makes the instruction from the written texts.
        compared_to: The prompt that the guard compares the instruction with, if there is one.
    """

    base: Prompt
    drafts: tuple[Draft, ...] = ()
    compose: Callable[[Sequence[str]], str] = "\n".join
    compared_to: Prompt | None = None

    def prompt(self, texts: Sequence[str]) -> Prompt:
        """Return the candidate that the written texts, one a draft, make."""
        return replace(self.base, instruction=self.compose(texts)) if self.drafts else self.base


class Kind(Protocol):
    """A way to make candidates."""

    def is_possible(self, material: Material) -> bool:
        """Tell whether the material suffices for this kind."""
        ...

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates; all random choices come from ``rng``."""
        ...


def clean(text: str) -> str:
    """Strip fences, quotes and headings that models put around an instruction."""
    text = re.sub(r"^```\w*\n|\n?```$", "", text.strip()).strip()
    heading = r"^(improved |new |lost |merged )?instruction\s*:\s*"
    text = re.sub(heading, "", text, flags=re.IGNORECASE)
    text = text.removeprefix("<<<").removesuffix(">>>").strip()
    return text.strip('"“”').strip()


def clean_line(text: str, heading: str) -> str:
    """Return the first line that is not empty, without list marks and without its heading."""
    name = re.escape(heading)
    headings = rf"^(?:[\s*-]*(?:rule(?: for {name})?|{name})\s*:)+"
    text = re.sub(headings, "", clean(text).replace("**", ""), flags=re.IGNORECASE)
    lines = [line.strip("*- ") for line in text.splitlines()]
    return next((" ".join(line.split()) for line in lines if line.split()), "")
