"""Candidates of several kinds: how many of each, which of them are kept.

A proposal sees training examples alone.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from dln_core.concurrency import map_bounded, parted
from dln_core.config import ProposalConfig, ProposalMix
from dln_core.errors import ContextLengthError, RequestError
from dln_core.llm.base import LanguageModel
from dln_core.proposals.demonstrations import Examples
from dln_core.proposals.evidence import Candidate, Evidence, Proposed
from dln_core.proposals.guard import Guard
from dln_core.proposals.plans import Kind, Material, Plan, write
from dln_core.proposals.writing import Induce, Recombine, Rewrite, Rules
from dln_core.types import Prompt
from dln_core.vi.selection import allocate

KINDS: Mapping[str, Kind] = {
    "rewrite": Rewrite(),
    "induce": Induce(),
    "rules": Rules(),
    "recombine": Recombine(),
    "examples": Examples(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Makes candidates from parents and cases.

    Attributes:
        model: Writes instructions (the backward model).
        config: How many of which kind, and their bounds.
        guard: Refuses texts that must not become an instruction.
    """

    model: LanguageModel
    config: ProposalConfig
    guard: Guard

    async def propose(
        self,
        output_name: str,
        parents: Sequence[Prompt],
        evidence: Evidence,
        count: int,
        rng: np.random.Generator,
    ) -> Proposed:
        """Make ``count`` proposals; those that are new, distinct and not refused are candidates.

        A proposal that equals a parent or another candidate is refused as ``duplicate``, one that
        the guard speaks against for the guard's reason, one above ``max_instruction_chars`` as
        ``too_long``, one whose request does not fit into the model's context even without cases as
        ``too_long_for_context``, and one whose request the endpoint refuses for another reason as
        ``refused_by_endpoint``.

        Args:
            output_name: Field name of what the layer writes.
            parents: Prompts to start from, the current one first; none of them is returned.
            evidence: Training cases, worked examples and labels.
            count: N, the number of proposals.
            rng: All choices; the samples' seeds come from it too.

        Raises:
            LLMError: If a request failed for another reason than what it says.
        """
        material = Material(
            output_name=output_name, parents=tuple(parents), evidence=evidence, config=self.config
        )
        shares = possible_shares(self.config.mix, material)
        plans = [
            (kind, plan)
            for kind, number in zip(shares, allocate(count, list(shares.values())), strict=True)
            for plan in KINDS[kind].plans(material, number, rng)
        ]
        drafts = [draft for _, plan in plans for draft in plan.drafts]
        written = await map_bounded(functools.partial(write, self.model), drafts)
        arrived = iter(written)
        outcomes = [[next(arrived).text for _ in plan.drafts] for _, plan in plans]
        candidates, refused = self._sift(material, plans, outcomes)
        return Proposed(
            candidates=candidates,
            refused=refused,
            num_shrunk=sum(answer.num_shrunk for answer in written),
            failures=parted([answer.text for answer in written])[1],
        )

    def _sift(
        self,
        material: Material,
        plans: Sequence[tuple[str, Plan]],
        outcomes: Sequence[Sequence[str | RequestError]],
    ) -> tuple[tuple[Candidate, ...], dict[str, int]]:
        """Part the plans, by what was written for them, into candidates and counted refusals."""
        taken, candidates = set(material.parents), []
        refused: Counter[str] = Counter()
        for (kind, plan), answers in zip(plans, outcomes, strict=True):
            texts, failures = parted(answers)
            reason = (
                _reason_of(failures[0])
                if failures
                else self._reason_against(plan, texts, material.evidence)
            )
            if reason is not None:
                refused[reason] += 1
                continue
            prompt = plan.prompt(texts)
            if prompt in taken:
                refused["duplicate"] += 1
                continue
            taken.add(prompt)
            candidates.append(Candidate(prompt, kind))
        return tuple(candidates), dict(sorted(refused.items()))

    def _reason_against(self, plan: Plan, texts: Sequence[str], evidence: Evidence) -> str | None:
        """Tell why a plan comes to nothing: each text is checked, then what they make together."""
        if not plan.drafts:
            return None
        # A part need not name the labels; the whole must.
        for_parts = replace(evidence, labels=())
        for text in texts:
            reason = self.guard.reason_against(text, plan.compared_to, for_parts)
            if reason is not None:
                return reason
        instruction = plan.prompt(texts).instruction
        if len(instruction) > self.config.max_instruction_chars:
            return "too_long"
        return self.guard.reason_against(instruction, plan.compared_to, evidence)


def _reason_of(failure: RequestError) -> str:
    is_too_long = isinstance(failure, ContextLengthError)
    return "too_long_for_context" if is_too_long else "refused_by_endpoint"


def possible_shares(mix: ProposalMix, material: Material) -> dict[str, float]:
    """Shares of the kinds that the material suffices for; if none has any, rewrite has all."""
    shares = {
        kind: share
        for kind, share in asdict(mix).items()
        if share > 0 and KINDS[kind].is_possible(material)
    }
    return shares or {"rewrite": 1.0}
