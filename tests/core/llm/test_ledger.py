"""Counting of calls, tokens and money."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from dln_core.config import PriceConfig
from dln_core.llm.base import Choice, Response
from dln_core.llm.ledger import Counts, Ledger, Metered
from dln_core.types import Role, Usage
from tests.core.llm.toys import GENERATE, SCORE, Recorder

PRICE = PriceConfig(prompt_usd_per_million=0.15, completion_usd_per_million=0.6)
PAID = Response((Choice("a"),), Usage(100, 10))
STORED = replace(PAID, paid=False)


def asked(role: Role):
    return replace(GENERATE, role=role)


def test_calls_are_counted_by_role_as_asked_and_as_paid():
    ledger = Ledger()
    for role, response in ((Role.dev, PAID), (Role.dev, STORED), (Role.test, STORED)):
        ledger.record(asked(role), response, PRICE)
    assert ledger.by_role == {
        Role.dev: Counts(2, 200, 20, 1, 100, 10),
        Role.test: Counts(1, 100, 10, 0, 0, 0),
    }
    assert ledger.totals() == Counts(3, 300, 30, 1, 100, 10)


def test_a_known_price_gives_the_exact_cost_of_what_was_paid():
    ledger = Ledger()
    for response in (PAID, STORED, PAID):
        ledger.record(SCORE, response, PRICE)
    assert ledger.cost_usd == pytest.approx(2 * (100 * 0.15 + 10 * 0.6) / 1e6, rel=1e-12)


def test_a_partly_stored_answer_is_asked_for_as_a_whole_and_paid_in_part():
    ledger = Ledger()
    ledger.record(SCORE, replace(PAID, sent=Usage(100, 4)), PRICE)
    assert ledger.totals() == Counts(1, 100, 10, 1, 100, 4)
    assert ledger.cost_usd == pytest.approx((100 * 0.15 + 4 * 0.6) / 1e6, rel=1e-12)


@pytest.mark.parametrize(
    "price",
    [
        PriceConfig(),
        PriceConfig(prompt_usd_per_million=1.0),
        PriceConfig(completion_usd_per_million=1.0),
    ],
)
def test_one_paid_call_of_unknown_price_makes_the_cost_unknown(price):
    ledger = Ledger()
    ledger.record(SCORE, PAID, PRICE)
    ledger.record(SCORE, PAID, price)
    assert ledger.cost_usd is None


def test_a_stored_answer_costs_nothing_even_at_an_unknown_price():
    ledger = Ledger()
    ledger.record(SCORE, STORED, PriceConfig())
    assert ledger.cost_usd == 0.0


def test_a_free_model_costs_zero_and_not_unknown():
    ledger = Ledger()
    free = PriceConfig(prompt_usd_per_million=0.0, completion_usd_per_million=0.0)
    ledger.record(SCORE, PAID, free)
    assert ledger.cost_usd == 0.0


def test_usage_is_plain_json_in_the_order_of_the_names():
    ledger = Ledger()
    for role in (Role.test, Role.dev):
        ledger.record(asked(role), PAID, PRICE)
    written = orjson.loads(orjson.dumps(ledger.usage()))
    assert list(written) == ["dev", "test"]
    assert written["dev"]["paid_prompt_tokens"] == 100


async def test_every_open_ledger_gets_every_answer_and_later_ones_only_what_follows():
    first, second = Ledger(), Ledger()
    ledgers = [first]
    model = Metered(Recorder(), ledgers, PRICE)
    await model.send(GENERATE)
    ledgers.append(second)
    await model.send(GENERATE)
    assert (first.totals().calls, second.totals().calls) == (2, 1)
