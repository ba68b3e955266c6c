"""Requests to the backward model: shrinking them, and reading what comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.errors import (
    ContextLengthError,
    LLMError,
    ParameterError,
    RequestError,
    UnreachableError,
)
from dln_core.proposals.plans import Draft, clean, clean_line, write
from tests.core.proposals.toys import (
    CASES,
    GOOD,
    ShortContext,
    Writer,
    config,
    prompts,
    propose,
)

RIGHT = tuple(case for case in CASES if case.is_right)
WRONG = tuple(case for case in CASES if not case.is_right)


def rewriting(num_right, num_wrong, *, needs_shown=False):
    return Draft(
        template="rewrite",
        values={"instruction": "Say.", "output_name": "Label", "meta_instruction": "Improve."},
        shown={"successes": RIGHT[:num_right], "errors": WRONG[:num_wrong]},
        max_tokens=50,
        temperature=0.7,
        seed=3,
        needs_shown=needs_shown,
    )


def sizes(draft):
    """Numbers of cases of a draft and of all its shrunk versions."""
    found = []
    while draft is not None:
        found.append(tuple(len(cases) for cases in draft.shown.values()))
        draft = draft.shrunk()
    return found


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (rewriting(8, 3), [(8, 3), (4, 1), (2, 1), (1, 1), (0, 0)]),
        (rewriting(0, 3), [(0, 3), (0, 1), (0, 0)]),
        (rewriting(0, 0), [(0, 0)]),
        (rewriting(2, 3, needs_shown=True), [(2, 3), (1, 1)]),
    ],
)
def test_shown_cases_are_halved_to_one_each_and_then_to_none(draft, expected):
    assert sizes(draft) == expected


async def test_a_request_that_is_too_long_is_sent_again_with_fewer_cases():
    model = ShortContext(Writer(GOOD), num_words=65)
    written = await write(model, rewriting(3, 3))
    lengths = [len(request.messages[-1].text.split()) for request in model.sent]
    assert written.text == GOOD
    assert written.num_shrunk == len(model.sent) - 1 == 1
    assert lengths[1] <= 65 < lengths[0]
    assert {request.seed for request in model.sent} == {3}


async def test_a_request_that_fits_is_sent_once_as_it_is():
    model = ShortContext(Writer(GOOD), num_words=1000)
    written = await write(model, rewriting(3, 3))
    assert (written.text, written.num_shrunk) == (GOOD, 0)
    assert [request.messages for request in model.sent] == [rewriting(3, 3).request().messages]


async def test_a_request_that_never_fits_writes_nothing():
    model = ShortContext(Writer(GOOD), num_words=3)
    written = await write(model, rewriting(3, 3))
    assert isinstance(written.text, ContextLengthError)
    assert written.num_shrunk == 2
    assert len(model.sent) == 3


@pytest.mark.parametrize("kind", ["rewrite", "induce", "rules"])
async def test_proposals_count_how_often_requests_shrank(kind):
    roomy = ShortContext(Writer(GOOD), num_words=1000)
    assert (await propose(roomy, config(kind), 1)).num_shrunk == 0
    longest = max(len(request.messages[-1].text.split()) for request in roomy.sent)
    tight = ShortContext(Writer(GOOD), num_words=longest - 1)
    proposed = await propose(tight, config(kind), 1)
    assert proposed.num_shrunk == len(tight.sent) - len(roomy.sent) > 0
    assert len(proposed.candidates) == 1


@pytest.mark.parametrize("kind", ["rewrite", "induce", "rules"])
async def test_a_proposal_whose_request_never_fits_is_refused(kind):
    proposed = await propose(ShortContext(Writer(GOOD), num_words=3), config(kind), 2)
    assert proposed.candidates == ()
    assert proposed.refused == {"too_long_for_context": 2}


async def test_a_proposal_whose_request_is_refused_is_counted_with_its_reason():
    class Filtered(ShortContext):
        """Refuses every second request for what it says."""

        async def send(self, request):
            self.sent.append(request)
            if len(self.sent) % 2:
                raise RequestError(f"filtered {len(self.sent)}")
            return await self.model.send(request)

    world = Writer(*(f"Even or Odd? Mind hint number {n}." for n in range(200)))
    model = Filtered(world, num_words=0)
    proposed = await propose(model, config("rewrite"), 6)
    assert proposed.refused == {"refused_by_endpoint": 3}
    assert [str(failure) for failure in proposed.failures] == [f"filtered {n}" for n in (1, 3, 5)]
    assert len(proposed.candidates) == 3
    assert len(model.sent) == 6


@pytest.mark.parametrize("error", [UnreachableError, ParameterError, LLMError, ValueError])
async def test_other_errors_pass_and_nothing_is_sent_again(error):
    class Failing:
        num_sent = 0

        async def send(self, request):
            self.num_sent += 1
            raise error("no")

    model = Failing()
    with pytest.raises(error, match="no"):
        await propose(model, config("rewrite"), 1)
    assert model.num_sent == 1


@pytest.mark.parametrize(
    "text",
    [
        '"Decide."',
        "```text\nDecide.\n```",
        "Improved instruction: Decide.",
        "Lost instruction:\nDecide.",
        "Merged instruction: Decide.",
        "<<<\nDecide.\n>>>",
    ],
)
def test_wrapping_is_stripped(text):
    assert clean(text) == "Decide."


@given(st.text())
def test_cleaning_only_takes_away_and_leaves_no_white_space_around(text):
    cleaned = clean(text)
    assert cleaned in text
    assert cleaned == cleaned.strip()


@pytest.mark.parametrize(
    "text",
    [
        "it ends in 2",
        "Even: it ends in 2",
        "Rule for Even: it ends  in 2\nIt is easy.",
        "**Rule:**\n\n- **Even**: it ends in 2\n- more",
        "\n* it ends in 2\n",
    ],
)
def test_a_rule_is_the_first_line_without_its_heading(text):
    assert clean_line(text, "Even") == "it ends in 2"


@given(st.text(), st.sampled_from(["Even", "(A)", "a*b", "C++"]))
def test_a_rule_is_always_a_single_line(text, label):
    line = clean_line(text, label)
    assert len(line.splitlines()) <= 1
    assert line == " ".join(line.split())


async def test_each_sample_has_its_own_seed():
    world = Writer(*(f"Rule {n}: Even or Odd." for n in range(50)))
    proposed = await propose(world, config("rewrite"), 8)
    assert len({request.seed for request in world.requests}) == 8
    assert len(set(prompts(proposed))) == len(prompts(proposed)) > 3
