"""The kinds whose instruction the backward model writes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from dln_core.proposals.demonstrations import balanced
from dln_core.proposals.guard import MAX_NAMED_LABELS
from dln_core.proposals.plans import Draft, Material, Plan
from dln_core.randomness import sampling_seeds
from dln_core.templates import load_template
from dln_core.types import Prompt

MAX_SHOWN_CASES = 3
MAX_INDUCED_PAIRS = 8
MAX_RULES = 6
# Room for one sentence.
RULE_TOKENS = 64

Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A parent's instruction rewritten in view of what went right and wrong.

    Parent and meta-instruction are drawn independently.
    Source: Sordani et al. 2023, the backward template of DLN-1.
    """

    def is_possible(self, material: Material) -> bool:
        """Tell that an instruction can always be rewritten."""
        return True

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates, each with its own cases and seed."""
        return [self._plan(material, seed, rng) for seed in sampling_seeds(rng, count)]

    def _plan(self, material: Material, seed: int, rng: np.random.Generator) -> Plan:
        parent, cases = material.parent(rng), material.evidence.cases
        successes = _some([case for case in cases if case.is_right], MAX_SHOWN_CASES, rng)
        errors = _some([case for case in cases if not case.is_right], MAX_SHOWN_CASES, rng)
        directions = load_template("rewrite").meta_instructions
        draft = Draft(
            template="rewrite",
            values={
                "instruction": parent.instruction,
                "output_name": material.output_name,
                "meta_instruction": directions[int(rng.integers(len(directions)))],
            },
            shown={"successes": successes, "errors": errors},
            max_tokens=material.config.max_tokens,
            temperature=material.config.temperature,
            seed=seed,
        )
        return Plan(base=parent, drafts=(draft,), compared_to=parent)


@dataclass(frozen=True, slots=True)
class Induce:
    """An instruction written from inputs and right outputs alone, without parent or errors.

    Source: Zhou et al. 2023, Large Language Models Are Human-Level Prompt Engineers (APE).
    """

    def is_possible(self, material: Material) -> bool:
        """Tell whether there are cases to show."""
        return bool(material.evidence.cases)

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates without worked examples."""
        return [self._plan(material, seed, rng) for seed in sampling_seeds(rng, count)]

    def _plan(self, material: Material, seed: int, rng: np.random.Generator) -> Plan:
        evidence = material.evidence
        labels = evidence.labels if len(evidence.labels) <= MAX_NAMED_LABELS else ()
        draft = Draft(
            template="induce",
            values={"output_name": material.output_name, "labels": labels},
            shown={"pairs": tuple(balanced(evidence.pairs, MAX_INDUCED_PAIRS, rng))},
            max_tokens=material.config.max_tokens,
            temperature=material.config.temperature,
            seed=seed,
            needs_shown=True,
        )
        return Plan(base=Prompt(""), drafts=(draft,))


@dataclass(frozen=True, slots=True)
class Rules:
    """A parent's instruction with one line a label that says when to answer it.

    Each rule is a request of its own.  Labels that no case has as its target get none; of more
    than ``MAX_RULES`` labels those get one that are most confused in the errors.
    """

    def is_possible(self, material: Material) -> bool:
        """Tell whether a case shows one of the labels."""
        return bool(_shown_labels(material))

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates of up to ``MAX_RULES`` requests each."""
        return [self._plan(material, rng) for _ in range(count)]

    def _plan(self, material: Material, rng: np.random.Generator) -> Plan:
        parent, labels = material.parent(rng), confused_labels(material, rng)
        seeds = sampling_seeds(rng, len(labels))
        values = {
            "instruction": without_rules(parent.instruction, labels),
            "output_name": material.output_name,
        }
        drafts = tuple(
            _rule_draft(material, label, values, seed, rng)
            for label, seed in zip(labels, seeds, strict=True)
        )
        return Plan(
            base=parent,
            drafts=drafts,
            compose=functools.partial(with_rules, parent.instruction, labels),
            compared_to=parent,
        )


@dataclass(frozen=True, slots=True)
class Recombine:
    """Two parents made one: their instructions merged, or one's beside the other's examples."""

    def is_possible(self, material: Material) -> bool:
        """Tell whether two parents differ in their instructions."""
        return len({parent.instruction for parent in material.parents}) > 1

    def plans(self, material: Material, count: int, rng: np.random.Generator) -> list[Plan]:
        """Plan ``count`` candidates; crossing is free, a merged instruction has to be written."""
        taken, plans = set(material.parents), []
        for seed in sampling_seeds(rng, count):
            first, second = _two_parents(material, rng)
            crossed = replace(first, demonstrations=second.demonstrations)
            prefers_crossing = bool(rng.random() < 0.5)
            if prefers_crossing and crossed not in taken:
                taken.add(crossed)
                plans.append(Plan(base=crossed))
            else:
                plans.append(_merge(material, first, second, seed))
        return plans


def confused_labels(material: Material, rng: np.random.Generator) -> tuple[str, ...]:
    """Labels to write rules for, in the task's order; ties are broken at random."""
    evidence, shown = material.evidence, _shown_labels(material)
    if len(evidence.labels) <= MAX_RULES:
        return shown
    wrong = [case for case in evidence.cases if not case.is_right]
    confusion = Counter(text.strip() for case in wrong for text in (case.output, case.target))
    confused = tuple(label for label in shown if confusion[label]) or shown
    order = [confused[position] for position in rng.permutation(len(confused))]
    chosen = set(sorted(order, key=lambda label: -confusion[label])[:MAX_RULES])
    return tuple(label for label in confused if label in chosen)


def with_rules(instruction: str, labels: Sequence[str], rules: Sequence[str]) -> str:
    """Put a line ``label: rule`` for each label below an instruction, in place of older ones."""
    lines = [f"{label}: {rule}" for label, rule in zip(labels, rules, strict=True)]
    return "\n".join([without_rules(instruction, labels), *lines]).strip("\n")


def without_rules(instruction: str, labels: Sequence[str]) -> str:
    """Remove the lines that are rules for these labels."""
    headings = tuple(f"{label}: " for label in labels)
    lines = instruction.splitlines()
    return "\n".join(line for line in lines if not line.startswith(headings)).strip("\n")


def _shown_labels(material: Material) -> tuple[str, ...]:
    targets = {case.target for case in material.evidence.cases}
    return tuple(label for label in material.evidence.labels if label in targets)


def _rule_draft(
    material: Material, label: str, values: dict[str, str], seed: int, rng: np.random.Generator
) -> Draft:
    pairs = material.evidence.pairs
    inside = _some([pair for pair in pairs if pair.output == label], MAX_SHOWN_CASES, rng)
    others = [pair for pair in pairs if pair.output != label]
    return Draft(
        template="rules",
        values={**values, "label": label},
        shown={"inside": inside, "outside": tuple(balanced(others, MAX_SHOWN_CASES, rng))},
        max_tokens=min(RULE_TOKENS, material.config.max_tokens),
        temperature=material.config.temperature,
        seed=seed,
        needs_shown=True,
        heading=label,
    )


def _two_parents(material: Material, rng: np.random.Generator) -> tuple[Prompt, Prompt]:
    first = material.parent(rng)
    others = [p for p in material.parents if p.instruction != first.instruction]
    return first, others[int(rng.integers(len(others)))]


def _merge(material: Material, first: Prompt, second: Prompt, seed: int) -> Plan:
    draft = Draft(
        template="recombine",
        values={
            "output_name": material.output_name,
            "first": first.instruction,
            "second": second.instruction,
        },
        max_tokens=material.config.max_tokens,
        temperature=material.config.temperature,
        seed=seed,
    )
    # The labels that either of the two names must stay named.
    both = Prompt(f"{first.instruction}\n{second.instruction}")
    return Plan(base=first, drafts=(draft,), compared_to=both)


def _some(items: Sequence[Shown], count: int, rng: np.random.Generator) -> tuple[Shown, ...]:
    """A random subset in random order."""
    return tuple(items[position] for position in rng.permutation(len(items))[:count])
