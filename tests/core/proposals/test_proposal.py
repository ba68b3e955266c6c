"""How proposals are shared out over the kinds, and which of them become candidates."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.config import ProposalConfig, ProposalMix
from dln_core.llm.simulated import SimulatedModel
from dln_core.proposals.evidence import Candidate, Evidence
from dln_core.proposals.guard import Guard
from dln_core.proposals.proposal import KINDS, possible_shares
from dln_core.types import Example, Prompt, Splits
from tests.core.proposals.toys import (
    CASES,
    EVIDENCE,
    GOOD,
    PARENT,
    SHOTS,
    Writer,
    config,
    material,
    only,
    prompts,
    propose,
)

ALL = ProposalMix(rewrite=0.3, induce=0.2, rules=0.2, recombine=0.1, examples=0.2)
OTHER = Prompt("Even or Odd? Count in pairs.")
# Pairwise different texts that every kind accepts.
MANY = Writer(*(f"Even or Odd? Mind hint number {n}." for n in range(200)))


def sources(proposed):
    return Counter(candidate.source for candidate in proposed.candidates)


class LastFirst:
    """A model that answers a number of requests in the reverse order of their arrival."""

    def __init__(self, world, num_requests):
        self.model, self.waiting, self.num_requests = SimulatedModel(world), [], num_requests
        self.answered = []

    async def send(self, request):
        mine = anyio.Event()
        self.waiting.append(mine)
        if len(self.waiting) == self.num_requests:
            self.waiting.pop().set()
        await mine.wait()
        self.answered.append(request.seed)
        response = await self.model.send(request)
        if self.waiting:
            self.waiting.pop().set()
        return response


async def test_every_kind_gets_its_share():
    proposed = await propose(MANY, ProposalConfig(mix=ALL), 20, parents=(PARENT, OTHER))
    assert sources(proposed).keys() == KINDS.keys()
    assert len(proposed.candidates) + sum(proposed.refused.values()) == 20


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"evidence": Evidence(CASES, (), EVIDENCE.labels)}, {"examples"}),
        ({"evidence": Evidence(CASES, SHOTS, ())}, {"rules"}),
        ({"evidence": Evidence((), SHOTS, EVIDENCE.labels)}, {"rules", "induce"}),
        ({"parent": (PARENT, PARENT)}, {"recombine"}),
    ],
)
def test_impossible_kinds_leave_their_share_to_the_others(changed, missing):
    there = material(**({"parent": (PARENT, OTHER)} | changed))
    shares = possible_shares(ALL, there)
    assert shares.keys() == KINDS.keys() - missing


@pytest.mark.parametrize("kind", ["induce", "rules", "recombine", "examples"])
async def test_rewriting_remains_when_no_kind_of_the_mix_is_possible(kind):
    proposed = await propose(MANY, config(kind), 6, evidence=Evidence((), ()))
    assert sources(proposed).keys() == {"rewrite"}


def test_a_kind_without_a_share_gets_none():
    shares = possible_shares(ProposalMix(), material((PARENT, OTHER)))
    assert shares == {"rewrite": 0.5, "examples": 0.5}
    assert possible_shares(only("rules"), material()) == {"rules": 1.0}


async def test_candidates_are_distinct_and_never_a_parent():
    world = Writer(PARENT.instruction, GOOD)
    proposed = await propose(world, config("rewrite"), 8)
    assert proposed.candidates == (Candidate(Prompt(GOOD), "rewrite"),)
    assert proposed.refused == {"duplicate": 7}


async def test_a_written_instruction_is_bounded_in_length():
    settings = config("rewrite", max_instruction_chars=100)
    proposed = await propose(Writer("Even or Odd " * 30), settings, 4)
    assert proposed.refused == {"too_long": 4}


async def test_refusals_are_counted_by_reason():
    world = Writer("", "Ask the student: Even or Odd?", "Say Even.")
    proposed = await propose(world, config("rewrite"), 30)
    assert proposed.candidates == ()
    assert list(proposed.refused) == ["drops_label", "echo", "empty"]
    assert sum(proposed.refused.values()) == 30


async def test_held_out_inputs_do_not_enter_a_candidate():
    held_out = "a very long number that stands in the test split alone"
    example = Example(id="0", input=held_out, target="Odd")
    guard = Guard.of(Splits(test=(example,)))
    world = Writer(f"Even or Odd? Beware of {held_out}.")
    proposed = await propose(world, config("rewrite"), 3, guard=guard)
    assert proposed.refused == {"copies_held_out": 3}


async def test_equal_seeds_repeat_everything_and_others_do_not():
    settings, parents = ProposalConfig(mix=ALL), (PARENT, OTHER)
    first = await propose(MANY, settings, 20, parents=parents, seed=1)
    assert first == await propose(MANY, settings, 20, parents=parents, seed=1)
    assert first != await propose(MANY, settings, 20, parents=parents, seed=2)


async def test_candidates_do_not_depend_on_the_order_of_completion():
    settings, parents = ProposalConfig(mix=ALL), (PARENT, OTHER)
    counting = Writer(*MANY.texts)
    expected = await propose(counting, settings, 20, parents=parents)
    asked = [request.seed for request in counting.requests]
    model = LastFirst(MANY, len(asked))
    assert await propose(model, settings, 20, parents=parents) == expected
    assert model.answered != asked
    assert sorted(model.answered) == sorted(asked)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12))
def test_every_proposal_is_a_new_candidate_or_a_counted_refusal(seed, count):
    world = Writer(PARENT.instruction, GOOD, "", "Even or Odd " * 200, "Say Even.")
    parents = (PARENT, OTHER, Prompt(OTHER.instruction, SHOTS[:3]))

    async def run():
        return await propose(world, ProposalConfig(mix=ALL), count, parents=parents, seed=seed)

    proposed = anyio.run(run)
    found = prompts(proposed)
    assert len(found) + sum(proposed.refused.values()) == count
    assert len(set(found)) == len(found)
    assert not set(found) & set(parents)
    assert all(0 < len(prompt.instruction) <= 1500 for prompt in found)
    assert all("Even" in prompt.instruction and "Odd" in prompt.instruction for prompt in found)
    assert all(len(prompt.demonstrations) <= 8 for prompt in found)


async def test_no_proposals_are_no_candidates():
    proposed = await propose(MANY, ProposalConfig(mix=ALL), 0)
    assert (proposed.candidates, proposed.refused, proposed.num_shrunk) == ((), {}, 0)
