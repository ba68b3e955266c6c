"""No more is used than is allowed, whatever calls turn out to take."""

from __future__ import annotations

import math

import anyio
import pytest

from dln_core.errors import BudgetError
from dln_core.llm.allowance import Allowance, Amount

INF = math.inf


async def test_calls_are_let_through_as_long_as_they_fit():
    allowance = Allowance(Amount(100.0, INF))
    for _ in range(10):
        await allowance.reserve(Amount(10.0))
        allowance.settle(Amount(10.0), Amount(10.0))
    with pytest.raises(BudgetError):
        await allowance.reserve(Amount(1.0))


async def test_what_needs_nothing_is_let_through_when_all_is_used():
    allowance = Allowance(Amount(INF, 0.0))
    await allowance.reserve(Amount(50.0, 0.0))


async def test_a_call_waits_for_those_in_flight_that_may_take_less_than_they_set_aside():
    allowance, begun = Allowance(Amount(100.0, INF)), []

    async def call(name: str, expected: float, used: float) -> None:
        await allowance.reserve(Amount(expected))
        begun.append(name)
        await anyio.lowlevel.checkpoint()
        allowance.settle(Amount(expected), Amount(used))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "first", 80.0, 20.0)
        tasks.start_soon(call, "second", 70.0, 70.0)
    assert begun == ["first", "second"]
    with pytest.raises(BudgetError):
        await allowance.reserve(Amount(20.0))


async def test_concurrent_calls_together_never_pass_the_bound():
    allowance, used, refused = Allowance(Amount(1000.0, INF)), [], []

    async def call(expected: int) -> None:
        try:
            await allowance.reserve(Amount(float(expected)))
        except BudgetError:
            refused.append(expected)
            return
        await anyio.lowlevel.checkpoint()
        used.append(expected)
        allowance.settle(Amount(float(expected)), Amount(float(expected)))

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(call, 5 + number % 40)
    assert sum(used) <= 1000 < sum(used) + min(refused)


async def test_money_is_bounded_like_tokens():
    allowance = Allowance(Amount(INF, 1.0))
    await allowance.reserve(Amount(1e9, 0.75))
    allowance.settle(Amount(1e9, 0.75), Amount(1e9, 0.75))
    with pytest.raises(BudgetError):
        await allowance.reserve(Amount(1.0, 0.5))


async def test_no_call_begins_after_the_time():
    allowance = Allowance(Amount(INF, INF), seconds=0.0)
    with pytest.raises(BudgetError, match="used up"):
        await allowance.reserve(Amount(1.0))
