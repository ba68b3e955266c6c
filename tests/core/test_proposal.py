"""Candidate prompts."""

from __future__ import annotations

import numpy as np
import pytest

from dln_core.config import ProposalConfig
from dln_core.layers import LanguageLayer
from dln_core.llm.simulated import SimulatedModel
from dln_core.proposal import Case, Evidence, Proposal, acceptable, balanced, clean
from dln_core.templates import load_template
from dln_core.types import Demonstration, Prompt

PARENT = Prompt("Say Even or Odd.")
LAYER = LanguageLayer(
    name="output", template=load_template("answer"), output_name="Label", prompt=PARENT
)
CASES = tuple(Case(f"Item: {n}", "Even", ("Even", "Odd")[n % 2]) for n in range(20))
SHOTS = tuple(Demonstration(case.body, case.target) for case in CASES)
EVIDENCE = Evidence(CASES, SHOTS, ("Even", "Odd"))


class Writer:
    """A world that writes the given instructions with equal probability."""

    def __init__(self, *texts):
        self.texts = texts
        self.requests = []

    def distribution(self, request):
        self.requests.append(request)
        return dict.fromkeys(self.texts, 1 / len(self.texts))


async def propose(world, count=8, parents=(PARENT,), seed=0, **config):
    proposal = Proposal(model=SimulatedModel(world), config=ProposalConfig(**config))
    return await proposal.propose(LAYER, parents, EVIDENCE, count, np.random.default_rng(seed))


async def test_candidates_are_distinct_and_never_a_parent():
    world = Writer("Say Even or Odd.", "Even or Odd? See the last digit.")
    candidates = await propose(world, demonstration_share=0.0)
    assert [c.prompt for c in candidates] == [Prompt("Even or Odd? See the last digit.")]


async def test_a_written_instruction_is_bounded_in_length():
    world = Writer("Even or Odd " * 30)
    assert await propose(world, demonstration_share=0.0, max_instruction_chars=100) == []


async def test_worked_examples_are_balanced_over_answers_and_bounded():
    candidates = await propose(Writer("x"), demonstration_share=1.0)
    assert len(candidates) == 8
    for candidate in candidates:
        outputs = [shown.output for shown in candidate.prompt.demonstrations]
        assert 4 <= len(outputs) <= 8
        assert abs(outputs.count("Even") - outputs.count("Odd")) <= 1
        assert len(set(candidate.prompt.demonstrations)) == len(outputs)


async def test_a_parent_that_shows_examples_never_grows_beyond_the_bound():
    parent = Prompt("Say.", SHOTS[:8])
    candidates = await propose(Writer("x"), 30, parents=(parent,), demonstration_share=1.0)
    assert max(len(c.prompt.demonstrations) for c in candidates) == 8


async def test_the_request_shows_errors_successes_and_the_instruction():
    world = Writer("Even or Odd? See the last digit.")
    await propose(world, demonstration_share=0.0)
    text = world.requests[0].messages[0].text
    assert PARENT.instruction in text
    assert "Student's label: Even\nRight label: Odd" in text
    assert "Cases it got right:" in text


async def test_each_proposal_has_its_own_seed_and_equal_seeds_repeat_everything():
    world = Writer(*(f"Rule {n}: Even or Odd." for n in range(50)))
    first = await propose(world, demonstration_share=0.0, seed=1)
    assert len({request.seed for request in world.requests}) == 8
    assert first == await propose(world, demonstration_share=0.0, seed=1)
    assert first != await propose(world, demonstration_share=0.0, seed=2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Say Even, or else say nothing.",
        "Please provide the text to classify.",
        "The student should do better.",
        "<<< Decide >>>",
        "Remember that Item: 3 is Odd, always.",
    ],
)
def test_a_useless_instruction_is_refused(text):
    assert not acceptable(text, PARENT, EVIDENCE)


def test_a_plain_instruction_is_accepted():
    assert acceptable("Name the parity: Even or Odd.", PARENT, EVIDENCE)


@pytest.mark.parametrize(
    "text",
    ['"Decide."', "```text\nDecide.\n```", "Improved instruction: Decide.", "<<<\nDecide.\n>>>"],
)
def test_wrapping_is_stripped(text):
    assert clean(text) == "Decide."


def test_drawing_takes_all_answers_in_turn_and_stops_at_what_is_there():
    rare = [*SHOTS[:1], *SHOTS[1::2]]
    drawn = balanced(rare, 4, np.random.default_rng(0))
    assert SHOTS[0] in drawn
    assert len(balanced(SHOTS, 100, np.random.default_rng(0))) == len(SHOTS)
