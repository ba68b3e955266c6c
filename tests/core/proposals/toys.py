"""A toy task, and backward models whose answers are known."""

from __future__ import annotations

import numpy as np

from dln_core.config import ProposalConfig, ProposalMix
from dln_core.errors import ContextLengthError
from dln_core.llm.simulated import SimulatedModel, num_words
from dln_core.proposals.evidence import Case, Evidence
from dln_core.proposals.guard import Guard
from dln_core.proposals.plans import Material
from dln_core.proposals.proposal import Proposal
from dln_core.types import Demonstration, Prompt, Splits

PARENT = Prompt("Say Even or Odd.")
GOOD = "Even or Odd? See the last digit."
# A layer that always says Even is right on every second number.
CASES = tuple(Case(f"Item: {n}", "Even", ("Even", "Odd")[n % 2]) for n in range(20))
SHOTS = tuple(Demonstration(case.body, case.target) for case in CASES)
EVIDENCE = Evidence(CASES, SHOTS, ("Even", "Odd"))
NOTHING_HELD_OUT = Guard.of(Splits())


class Writer:
    """A world that writes the given texts with equal probability, and keeps the requests."""

    def __init__(self, *texts):
        self.texts = texts
        self.requests = []

    def distribution(self, request):
        self.requests.append(request)
        return dict.fromkeys(self.texts, 1 / len(self.texts))

    def questions(self):
        return [request.messages[-1].text for request in self.requests]


class ShortContext:
    """A model that refuses requests of more words than its context holds."""

    def __init__(self, world, num_words):
        self.model, self.num_words, self.sent = SimulatedModel(world), num_words, []

    async def send(self, request):
        self.sent.append(request)
        if num_words(request.messages[-1].text) > self.num_words:
            raise ContextLengthError("too many words")
        return await self.model.send(request)


def only(kind):
    """A mix of one kind."""
    none = dict.fromkeys(("rewrite", "induce", "rules", "recombine", "examples"), 0.0)
    return ProposalMix(**(none | {kind: 1.0}))


def config(kind, **values):
    return ProposalConfig(mix=only(kind), **values)


def material(parent=PARENT, evidence=EVIDENCE, **values):
    parents = parent if isinstance(parent, tuple) else (parent,)
    return Material(
        output_name="Label", parents=parents, evidence=evidence, config=ProposalConfig(**values)
    )


async def propose(
    model, settings, count=8, *, parents=(PARENT,), evidence=EVIDENCE, seed=0, guard=None
):
    """Make proposals with a model or a world."""
    proposal = Proposal(
        model=model if hasattr(model, "send") else SimulatedModel(model),
        config=settings,
        guard=guard or NOTHING_HELD_OUT,
    )
    return await proposal.propose("Label", parents, evidence, count, np.random.default_rng(seed))


def prompts(proposed):
    return [candidate.prompt for candidate in proposed.candidates]
