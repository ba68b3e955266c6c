"""Candidate prompts: rewritten instructions and worked examples.

A proposal sees training examples alone.  What a language model wrote is cleaned and refused where
it is empty, too long, a copy, an echo of the request or a question back to the user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dln_core.concurrency import map_bounded
from dln_core.config import ProposalConfig
from dln_core.layers import LanguageLayer
from dln_core.llm.base import GenerateRequest, LanguageModel
from dln_core.randomness import sampling_seeds
from dln_core.templates import load_template
from dln_core.types import Demonstration, Prompt, Role

MAX_SHOWN_CASES = 3
ECHOES = ("<<<", ">>>", "improved instruction", "student", "cases it got")
ASKS_USER = re.compile(
    r"\b(please (provide|share|give|send)|could you (provide|share)|let me know)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a layer read, what it wrote, and what it should have written."""

    body: str
    output: str
    target: str

    @property
    def is_right(self) -> bool:
        """Whether the output needs no correction."""
        return self.output == self.target


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proposals learn from.

    Attributes:
        cases: Inputs with what the layer wrote on them; errors are shown from these.
        shots: Inputs with the output wanted; worked examples are drawn from these.
        labels: The answers to choose from; empty for free text.
    """

    cases: tuple[Case, ...]
    shots: tuple[Demonstration, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt that may become a layer's next one.

    Attributes:
        prompt: The prompt.
        source: ``current``, ``memory``, ``rewrite`` or ``examples``.
    """

    prompt: Prompt
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Makes candidates from parents and cases.

    Attributes:
        model: Writes instructions (the backward model).
        config: How many of which kind, and their bounds.
    """

    model: LanguageModel
    config: ProposalConfig

    async def propose(
        self,
        layer: LanguageLayer,
        parents: Sequence[Prompt],
        evidence: Evidence,
        count: int,
        rng: np.random.Generator,
    ) -> list[Candidate]:
        """Make up to ``count`` new, distinct candidates.

        Args:
            layer: The layer whose prompt is to change.
            parents: Prompts to start from, drawn uniformly; none of them is returned.
            evidence: Training cases and worked examples.
            count: N; fewer come back where proposals were refused.
            rng: All choices; the samples' seeds come from it too.
        """
        num_examples = round(count * self.config.demonstration_share) if evidence.shots else 0
        shown = [self._examples(parents, evidence.shots, rng) for _ in range(num_examples)]
        num_rewrites = count - num_examples
        rewritten = await self._rewrites(layer, parents, evidence, num_rewrites, rng)
        taken, fresh = set(parents), []
        for candidate in [*shown, *rewritten]:
            if candidate.prompt not in taken:
                taken.add(candidate.prompt)
                fresh.append(candidate)
        return fresh

    def _examples(
        self, parents: Sequence[Prompt], shots: Sequence[Demonstration], rng: np.random.Generator
    ) -> Candidate:
        """Give a parent new worked examples, balanced over outputs; sometimes keep half its own."""
        parent = parents[int(rng.integers(len(parents)))]
        low, high = self.config.min_demonstrations, self.config.max_demonstrations
        count = int(rng.integers(max(1, low), high + 1))
        kept: list[Demonstration] = []
        if parent.demonstrations and rng.random() < 0.5:
            order = rng.permutation(len(parent.demonstrations))
            kept = [parent.demonstrations[i] for i in order[: count // 2]]
        others = [shot for shot in shots if shot not in kept]
        mixed = [*kept, *balanced(others, count - len(kept), rng)]
        demonstrations = tuple(mixed[i] for i in rng.permutation(len(mixed)))
        return Candidate(replace(parent, demonstrations=demonstrations), "examples")

    async def _rewrites(
        self,
        layer: LanguageLayer,
        parents: Sequence[Prompt],
        evidence: Evidence,
        count: int,
        rng: np.random.Generator,
    ) -> list[Candidate]:
        """Let the backward model rewrite instructions; parent and direction are independent."""
        template, cases = load_template("rewrite"), evidence.cases
        plans: list[tuple[Prompt, GenerateRequest]] = []
        for seed in sampling_seeds(rng, count):
            parent = parents[int(rng.integers(len(parents)))]
            directions = template.meta_instructions
            values: dict[str, Any] = {
                "instruction": parent.instruction,
                "output_name": layer.output_name,
                "successes": _some([case for case in cases if case.is_right], rng),
                "errors": _some([case for case in cases if not case.is_right], rng),
                "meta_instruction": directions[int(rng.integers(len(directions)))],
            }
            request = GenerateRequest(
                messages=template.messages(Prompt(""), body="", **values),
                max_tokens=self.config.max_tokens,
                temperature=self.config.temperature,
                seed=seed,
                role=Role.proposal,
            )
            plans.append((parent, request))

        async def write(plan: tuple[Prompt, GenerateRequest]) -> Candidate | None:
            parent, request = plan
            text = clean((await self.model.send(request)).choices[0].text)
            is_short = len(text) <= self.config.max_instruction_chars
            if not (is_short and acceptable(text, parent, evidence)):
                return None
            return Candidate(replace(parent, instruction=text), "rewrite")

        return [candidate for candidate in await map_bounded(write, plans) if candidate]


def clean(text: str) -> str:
    """Strip fences, quotes and headings that models put around an instruction."""
    text = re.sub(r"^```\w*\n|\n?```$", "", text.strip()).strip()
    text = re.sub(r"^(improved |new )?instruction\s*:\s*", "", text, flags=re.IGNORECASE)
    text = text.removeprefix("<<<").removesuffix(">>>").strip()
    return text.strip('"“”').strip()


def acceptable(text: str, parent: Prompt, evidence: Evidence) -> bool:
    """Tell whether a written instruction may become a candidate.

    It must not be empty, echo the request, ask the user for something or copy a case, and it must
    name every label that its parent names.
    """
    lowered = text.lower()
    named = [label for label in evidence.labels if label in parent.instruction]
    return (
        bool(text)
        and all(label.lower() in lowered for label in named)
        and not any(echo in lowered for echo in ECHOES)
        and not ASKS_USER.search(text)
        and not any(case.body in text or text in case.body for case in evidence.cases)
    )


def balanced(
    shots: Sequence[Demonstration], count: int, rng: np.random.Generator
) -> list[Demonstration]:
    """Draw worked examples without replacement, taking the outputs in turn."""
    by_output: dict[str, list[Demonstration]] = {}
    for position in rng.permutation(len(shots)):
        by_output.setdefault(shots[position].output, []).append(shots[position])
    groups = list(by_output.values())
    drawn: list[Demonstration] = []
    while groups and len(drawn) < count:
        for position in rng.permutation(len(groups)):
            if len(drawn) < count:
                drawn.append(groups[position].pop())
        groups = [group for group in groups if group]
    return drawn


def _some(cases: Sequence[Case], rng: np.random.Generator) -> list[Case]:
    """A random subset in random order."""
    count = min(len(cases), MAX_SHOWN_CASES)
    return [cases[i] for i in rng.permutation(len(cases))[:count]]
