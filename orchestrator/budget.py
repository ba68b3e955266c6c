"""The budget of a sweep and of each trial: what may be begun, and when training stops.

What a trial has yet to pay for its validation and its test is set aside as soon as it begins.  A
step is begun only if it is expected to fit into the rest.  Every unit of work gets an allowance
that holds back its calls; so nobody passes a bound by more than the calls in flight.  Where nothing
fits, a trial waits for others that may give back what they set aside; if none is at work, its
training stops.  The reference points of a task are begun, held back and stopped like a step.

Tokens are those that were asked for, over all runs of the folder, so that a resumed sweep stops
where an uninterrupted one would; money is what was paid; seconds of the sweep are those since this
run began, seconds of a trial those of its recorded work.  Time ends training alone: a validation
and a test are carried out however long they take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import anyio

from dln_core.config import LLMConfig
from dln_core.errors import ConfigError
from dln_core.llm.allowance import Amount
from orchestrator.accounts import NOTHING, ROOM, Account, Exhausted, Needs, Scope, amount_of
from orchestrator.planning.parts import Parts
from orchestrator.planning.plan import PlannedTrial
from orchestrator.settings.schema import BoundsConfig, BudgetConfig
from orchestrator.summary import Taken, TrialSummary


@dataclass(frozen=True, slots=True)
class Grant:
    """What a unit of work may use, and for how many seconds its calls may be begun."""

    amount: Amount
    seconds: float


def _part_of(free: Amount, most: Amount) -> Amount:
    """What a unit of work gets of what is free, so that others find something too."""
    return Amount(
        free.tokens if math.isinf(free.tokens) else min(free.tokens, most.tokens),
        free.cost_usd if math.isinf(free.cost_usd) else min(free.cost_usd, most.cost_usd),
    )


class Budget:
    """Adds up what a sweep has used, in this run and in earlier ones, and says what may go on.

    Args:
        config: The bounds.
        so_far: Trials with what earlier runs journalled of them.
        started_s: When the run began, on the monotonic clock; None for now.
        before: What else was used in the folder.
    """

    def __init__(
        self,
        config: BudgetConfig,
        so_far: Iterable[tuple[PlannedTrial, TrialSummary]],
        started_s: float | None = None,
        before: Amount = NOTHING,
    ) -> None:
        self._config = config
        self._is_bounded = bool(config.bounds() or config.trial.bounds())
        self._sweep = Scope("budget", config)
        self._sweep.used = before
        self._started_s = time.monotonic() if started_s is None else started_s
        self._accounts: dict[str, Account] = {}
        self._at_work: set[str] = set()
        self._changed = anyio.Event()
        for trial, summary in so_far:
            scope = Scope("budget.trial", config.trial)
            scope.used = Amount(summary.tokens, summary.cost_usd or 0.0)
            self._sweep.used += scope.used
            is_trained = trial.settings.network.is_trained
            account = Account(scope, trial.parts, is_trained, summary.seconds)
            account.has_ended = summary.status == "finished"
            for kind, taken in summary.taken.items():
                account.learn(kind, taken)
            for work in summary.given_up.elements():
                account.gave_up(work)
            self._accounts[trial.trial_id] = account
        # Whoever began before is tested: no other takes what that needs, whoever comes first.
        for account in self._accounts.values():
            if account.has_begun and not account.has_ended:
                self._set_aside(account, account.ending)

    def has_lifted(self, stop: Mapping[str, Any]) -> bool:
        """Tell whether a training that was stopped may go on, see ``may_go_on``."""
        return may_go_on(stop, self._config)

    def open(self, name: str, needs: Needs, trials: Iterable[str] = ()) -> None:
        """Open an account of reference points, which are begun and ended like a trial.

        Args:
            name: Of the account.
            needs: What they take.
            trials: Those yet to be run that they are shown beside, by ``trial_id``: where none of
                them could be begun after the points, the points are not begun either.
        """
        scope = Scope("budget.trial", BoundsConfig())
        parts = Parts(test=needs.of(needs.expected))
        accounts = [self._accounts[trial_id] for trial_id in trials]
        needed = [each.needed - each.set_aside for each in accounts]
        beside = reduce(Amount.least, needed) if needed else NOTHING
        self._accounts[name] = Account(scope, parts, is_trained=False, beside=beside)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count what reference points took in an attempt."""
        self._sweep.used += amount_of(row)

    def record(self, trial_id: str, event: Mapping[str, Any]) -> None:
        """Count a journalled event of a trial that holds a usage."""
        account = self._accounts[trial_id]
        for scope in (self._sweep, account.scope):
            scope.used += amount_of(event)
        account.seconds += event["seconds"]
        if event["kind"] == "abandoned":
            account.gave_up(event["work"])
        account.learn(event["kind"], Taken.of(event))
        self._set_aside(account, account.reserve)

    async def begin(self, trial_id: str) -> Exhausted | None:
        """Set aside what a trial takes at least; return the bound that forbids to begin it."""
        account = self._accounts[trial_id]
        # The test of one that began before is due, whatever the time.
        seconds = account.step_s if account.has_ended else -math.inf if account.has_begun else 0.0
        exhausted = await self._fits(account, account.needed - account.set_aside, seconds)
        if exhausted is not None:
            self._set_aside(account, NOTHING)
            return exhausted
        self._set_aside(account, account.needed if account.has_ended else account.reserve)
        self._at_work.add(trial_id)
        return None

    async def next_start(self, trial_id: str) -> Grant | Exhausted | None:
        """Return what a trial's first validation may use, like ``next_step``."""
        if not self._is_bounded:
            return None
        account = self._accounts[trial_id]
        kept = account.parts.test.times(account.parts.growth)
        needed = account.parts.validation + account.parts.longest
        return await self._grant(trial_id, kept, needed, account.reserve - kept, -math.inf)

    async def next_step(self, trial_id: str) -> Grant | Exhausted | None:
        """Return what a trial's next step may use, or why there is none; None without bounds."""
        if not self._is_bounded:
            return None
        account = self._accounts[trial_id]
        step = account.parts.step
        return await self._grant(trial_id, account.reserve, step, step, account.step_s)

    async def next_test(self, trial_id: str) -> Grant | Exhausted | None:
        """Return what a trial may use to be brought to its end, like ``next_step``."""
        if not self._is_bounded:
            return None
        account = self._accounts[trial_id]
        return await self._grant(trial_id, NOTHING, account.ending, account.reserve, -math.inf)

    async def next_points(self, name: str, needed: Amount) -> Grant | Exhausted | None:
        """Return what reference points may use, or why that is nothing; None without bounds."""
        if not self._is_bounded:
            return None
        return await self._grant(name, NOTHING, needed, needed, 0.0)

    async def _grant(
        self, name: str, kept: Amount, needed: Amount, likely: Amount, seconds: float
    ) -> Grant | Exhausted:
        """Wait until a unit of work fits beside what is kept, and set aside what it gets.

        Args:
            name: Of the account.
            kept: What stays set aside for what comes after the unit.
            needed: What must fit for the unit to be begun.
            likely: What it may well take; it gets more than that if there is more.
            seconds: That it takes; -inf if it is carried out whatever the time.
        """
        account = self._accounts[name]
        # While it waits, others need not wait for it; what it set aside stays its own.
        self._at_work.discard(name)
        try:
            exhausted = await self._fits(account, kept + needed - account.set_aside, seconds)
        finally:
            self._at_work.add(name)
        if exhausted is not None:
            return exhausted
        most = likely.times(ROOM)
        free = self._sweep.free.least(account.scope.free) + account.set_aside - kept
        amount = _part_of(free, most)
        seconds_left = math.inf if seconds < 0 else min(self._seconds_left(account))
        self._set_aside(account, kept + amount.least(most))
        return Grant(amount, seconds_left)

    def end(self, trial_id: str) -> None:
        """Give back what a trial that is no longer at work has set aside."""
        self._at_work.discard(trial_id)
        self._set_aside(self._accounts[trial_id], Amount())

    async def _fits(
        self, account: Account, needed: Amount, seconds: float = 0.0
    ) -> Exhausted | None:
        """Wait until something fits; return the bound that is passed once waiting is no use."""
        while True:
            sweep_s, trial_s = self._seconds_left(account)
            own = account.scope.lacking(needed, trial_s - seconds)
            exhausted = own or self._sweep.lacking(needed, sweep_s - seconds)
            if exhausted is None or own is not None or not self._at_work:
                return exhausted
            if exhausted.bound.endswith(".max_seconds"):  # which nobody gives back
                return exhausted
            await self._changed.wait()

    def _seconds_left(self, account: Account) -> tuple[float, float]:
        """Time for training in the sweep and the trial: without what its test will take."""
        sweep_s = self._sweep.max_seconds - (time.monotonic() - self._started_s)
        trial_s = account.scope.max_seconds - account.seconds
        return sweep_s - account.test_s, trial_s - account.test_s

    def _set_aside(self, account: Account, wanted: Amount) -> None:
        # No more than there is: what one expects too little of is not taken from the others.
        free = self._sweep.free.least(account.scope.free) + account.set_aside
        amount = wanted.least(Amount(max(0.0, free.tokens), max(0.0, free.cost_usd)))
        for scope in (self._sweep, account.scope):
            scope.set_aside += amount - account.set_aside
        account.set_aside = amount
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def may_go_on(stop: Mapping[str, Any], config: BudgetConfig) -> bool:
    """Tell whether a budget's bound ended a training and has been raised or left out since."""
    if stop["reason"] != "budget":
        return False
    scope, _, name = str(stop["bound"]).rpartition(".")
    bounds = (config.trial if scope == "budget.trial" else config).bounds()
    return bool(bounds.get(name, math.inf) > stop["value"])


def check_prices(name: str, bounds: BoundsConfig, models: Iterable[LLMConfig]) -> None:
    """Refuse a bound on money where a model's price is unknown.

    Args:
        name: Of the bounds: ``budget`` or ``budget.trial``.
        bounds: What is bounded.
        models: All that are to be paid.

    Raises:
        ConfigError: Naming the bound and the model.
    """
    if bounds.max_cost_usd is None:
        return
    for llm in models:
        price = llm.known_price
        prices = (price.prompt_usd_per_million, price.completion_usd_per_million)
        if llm.provider not in ("local", "simulated") and None in prices:
            raise ConfigError(
                f"{name}.max_cost_usd={bounds.max_cost_usd} cannot be kept because the price of "
                f"{llm.model} is unknown; give llm.price.prompt_usd_per_million and "
                "llm.price.completion_usd_per_million"
            )
