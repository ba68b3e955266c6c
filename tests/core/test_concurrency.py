"""The one way to start concurrent work: order, errors, and requests that are refused."""

from __future__ import annotations

import anyio
import pytest

from dln_core.concurrency import map_bounded, map_surviving, parted
from dln_core.errors import ContextLengthError, LLMError, RequestError

ITEMS = [0, 1, 2, 3, 4]


class Work:
    """Doubles numbers, the last first; some of them fail."""

    def __init__(self, **failing):
        self.failing = {int(name[1:]): error for name, error in failing.items()}
        self.finished = []

    async def __call__(self, number):
        for _ in range(10 - number):
            await anyio.lowlevel.checkpoint()
        self.finished.append(number)
        if number in self.failing:
            raise self.failing[number]
        return 2 * number


async def test_results_come_in_the_order_of_the_items():
    work = Work()
    assert await map_bounded(work, ITEMS) == [0, 2, 4, 6, 8]
    assert work.finished == ITEMS[::-1]


async def test_a_refusal_is_the_result_of_its_item_alone():
    late, early = ContextLengthError("late"), RequestError("early")
    results = await map_surviving(Work(n1=early, n3=late), ITEMS)
    assert results == [0, early, 4, late, 8]
    assert parted(results) == ([0, 4, 8], [early, late])


@pytest.mark.parametrize("bound", [1, 2, 5])
async def test_of_several_refusals_the_first_item_s_is_raised_once_all_else_is_done(bound):
    work = Work(n1=RequestError("first"), n4=RequestError("second"))
    with pytest.raises(RequestError, match="first"):
        await map_bounded(work, ITEMS, bound=bound)
    assert sorted(work.finished) == ITEMS


@pytest.mark.parametrize("apply", [map_bounded, map_surviving])
async def test_any_other_error_cancels_the_rest(apply):
    work = Work(n4=LLMError("broken"), n3=RequestError("refused"))
    with pytest.raises(LLMError, match="broken"):
        await apply(work, ITEMS)
    assert work.finished == [4]
