"""Dividing what there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.limiter.sharing import Claim, divide

amounts = st.integers(0, 40)
claims = st.builds(lambda least, more: Claim(least, least + more), amounts, amounts)
several = st.lists(claims, min_size=1, max_size=12)


@given(st.integers(0, 200), several)
def test_no_more_is_given_than_there_is_but_for_the_least_of_the_first(total, wanting):
    assert sum(divide(total, wanting)) <= max(total, wanting[0].least)


@given(st.integers(0, 200), several)
def test_nothing_is_left_while_anybody_wants_it(total, wanting):
    parts = divide(total, wanting)
    unmet = sum(claim.most - part for claim, part in zip(wanting, parts, strict=True))
    assert unmet == 0 or sum(parts) >= total


@given(st.integers(0, 200), several)
def test_nobody_gets_more_than_wanted_and_the_first_gets_something_of_use(total, wanting):
    parts = divide(total, wanting)
    assert all(0 <= part <= claim.most for part, claim in zip(parts, wanting, strict=True))
    assert parts[0] >= wanting[0].least


def test_who_wants_little_gets_it_and_the_rest_share_evenly():
    assert divide(20, [Claim(1, 2), Claim(1, 100), Claim(1, 100)]) == [2, 9, 9]


def test_what_does_not_go_round_goes_to_the_first():
    assert divide(2, [Claim(1, 5)] * 4) == [1, 1, 0, 0]
    assert divide(5, [Claim(16, 64), Claim(1, 1)]) == [16, 0]
