"""The limiter's side: what the clients of one endpoint may do, decided at one place.

It neither waits nor calls anybody.  A client reports, and the answer says what it may do until it
reports again; so whatever is lost on the way, the next report puts right, and a limiter that starts
anew learns from the reports what is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dln_core.config import LimitsConfig
from dln_core.llm.adaptive import AdaptiveConcurrency
from dln_core.llm.buckets import Bucket
from orchestrator.limiter.messages import (
    HEARTBEAT_S,
    LEASE_S,
    POLL_S,
    Allotment,
    Ask,
    Report,
    strictest,
)
from orchestrator.limiter.sharing import Claim, divide

# A limiter that starts anew waits until every client that lives has told what it has in flight.
RESTART_PAUSE_S = 3.0
LONGEST_PAUSE_S = 60.0
# What a process answers with much of its time left: the more clients, the less often they report.
# Beyond 500 of them, whom the longest gap allows for, reports become more.
REPORTS_PER_S = 200.0
SHORTEST_GAP_S = 0.01
LONGEST_GAP_S = 2.5

# What clients are served with: texts in flight, and the greater of their parts of the two rates.
# One order for both rates, or two clients would each wait for what is kept for the other.
SERVICES = ("texts", "rates")
RATES = {"calls": "requests_per_minute", "tokens": "tokens_per_minute"}


@dataclass(slots=True, eq=False)
class _Client:
    """What is known of a client.

    Attributes:
        report: Its last report.
        seen_at: When that came.
        num_held: Texts that it may have in flight, whether it has them or not.
        texts: What it could use of the texts in flight.
        claims: What it could use of the calls and tokens, at least and at most.
        served: What it was served with so far; who got least has the right of way.
    """

    report: Report
    seen_at: float
    num_held: int = 0
    texts: Claim = field(init=False)
    claims: dict[str, Claim] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0.0))

    def __post_init__(self) -> None:
        self.take_in(self.report, self.seen_at)

    def take_in(self, report: Report, now: float) -> None:
        self.report, self.seen_at = report, now
        least = report.asks[0].num_texts if report.asks else 0
        most = report.num_in_flight + sum(ask.num_texts for ask in report.asks)
        self.texts = Claim(least, most)


class SharedLimits:
    """The limits of one endpoint and key.

    The strictest of what its clients were told holds.  Each resource is divided evenly among those
    who want it; what does not go round goes to those who got least so far.

    Args:
        pause_s: Seconds for which nothing may be started at first.
        clock: Tells the time in seconds.
    """

    def __init__(
        self, *, pause_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._paused_until = clock() + pause_s
        self._looked_at = clock()
        self._clients: dict[str, _Client] = {}
        # What the client that was served last had got until then.
        self._reached = dict.fromkeys(SERVICES, 0.0)
        self._limits = LimitsConfig(max_concurrency=None)
        self._concurrency = AdaptiveConcurrency(None)
        self._buckets: dict[str, Bucket] = {}

    @property
    def num_clients(self) -> int:
        """Clients that live."""
        return len(self._clients)

    def exchange(self, report: Report) -> Allotment:
        """Take a client's report in and say what it may do."""
        now = self._clock()
        self._forget_silent(now)
        self._settle(report, now)
        if report.leaves:
            self._clients.pop(report.client, None)
            self._adopt_strictest()
            return Allotment()
        client = self._updated(report, now)
        pause_s = self._paused_until - now
        if pause_s > 0:
            client.claims = {}
            client.num_held = max(report.num_in_flight, report.num_held)
            return Allotment(pause_s=pause_s, again_s=min(pause_s, HEARTBEAT_S))
        return self._allot(client)

    def _forget_silent(self, now: float) -> None:
        if now < self._looked_at + HEARTBEAT_S:
            return
        self._looked_at = now
        for key in [key for key, one in self._clients.items() if now - one.seen_at > LEASE_S]:
            del self._clients[key]
        self._adopt_strictest()

    def _settle(self, report: Report, now: float) -> None:
        for ended in report.answered:
            ended_at = now - ended.ago_s
            self._concurrency.answer(ended.num_texts, ended_at - ended.took_s, ended_at)
        for ended in report.overloaded:
            ended_at = now - ended.ago_s
            self._concurrency.overload(ended_at - ended.took_s, ended_at)
        for name, amount in (("calls", report.calls_over), ("tokens", report.tokens_over)):
            if name in self._buckets:
                self._buckets[name].take(amount)
        pause_s = min(report.pause_s, LONGEST_PAUSE_S)
        self._paused_until = max(self._paused_until, now + pause_s)

    def _updated(self, report: Report, now: float) -> _Client:
        client = self._clients.get(report.client)
        told = None if client is None else client.report.limits
        had_asks = client is not None and bool(client.report.asks)
        if client is None:
            client = self._clients[report.client] = _Client(report, now)
        client.take_in(report, now)
        if report.limits != told:
            self._adopt_strictest()
        if report.asks and not had_asks:
            # Who wanted nothing for a while has not saved it up.
            for name in SERVICES:
                client.served[name] = max(client.served[name], self._reached[name])
        self._serve(client, "texts", report.num_started)
        return client

    def _serve(self, client: _Client, name: str, amount: float) -> None:
        if amount:
            self._reached[name] = max(self._reached[name], client.served[name])
            client.served[name] += amount

    def _adopt_strictest(self) -> None:
        """Keep the strictest of what the clients were told; those that left have no say."""
        if not self._clients:
            return
        limits = strictest(one.report.limits for one in self._clients.values())
        if limits.max_concurrency != self._limits.max_concurrency:
            self._concurrency = AdaptiveConcurrency(limits.max_concurrency)
        for name, key in RATES.items():
            per_minute = getattr(limits, key)
            if per_minute is None:
                self._buckets.pop(name, None)
            elif per_minute != getattr(self._limits, key):
                self._buckets[name] = Bucket(per_minute, self._clock)
        self._limits = limits

    def _allot(self, client: _Client) -> Allotment:
        report = client.report
        room, spare = self._room(client)
        fitting = _fitting(report.asks, room - report.num_in_flight)
        if len(fitting) < len(report.asks):
            self._concurrency.hold_up()
        if not self._buckets:
            num_held, num_granted = room + spare, 0
            lacks_others = len(fitting) < len(report.asks)
        else:
            num_held, num_granted = 0, self._grant(client, fitting)
            lacks_others = num_granted < len(fitting)
        granted_texts = sum(ask.num_texts for ask in report.asks[:num_granted])
        # Calls may be started under the present lease until the new one arrives.
        client.num_held = max(num_held, report.num_held, report.num_in_flight + granted_texts)
        # What a client lacks and others have to give back is there no sooner for asking.
        least_s = POLL_S if lacks_others else SHORTEST_GAP_S
        gap_s = min(LONGEST_GAP_S, len(self._clients) / REPORTS_PER_S)
        return Allotment(num_granted=num_granted, num_held=num_held, again_s=max(least_s, gap_s))

    def _room(self, client: _Client) -> tuple[int, int]:
        """Texts that a client may have in flight, and how many more because nobody wants them."""
        limit = self._concurrency.limit
        clients = sorted(self._clients.values(), key=lambda one: one.served["texts"])
        claims = [one.texts for one in clients]
        parts = divide(limit, claims)
        place = clients.index(client)
        part, claim = int(parts[place]), claims[place]
        by_others = sum(one.num_held for one in clients if one is not client)
        # What exceeds the limit by itself has to go some time: alone.
        if not by_others and part >= claim.least:
            free = max(limit, int(claim.least))
        else:
            free = max(0, limit - by_others)
        if not claim.most or part < claim.most:
            return min(part, free), 0
        unwanted = max(0, limit - int(sum(parts))) // (len(clients) + 1)
        return min(part, free), max(0, min(unwanted, free - part))

    def _grant(self, client: _Client, fitting: Sequence[Ask]) -> int:
        """Take what as many as possible of the calls need from the rates; return their number."""
        client.claims = self._claims(fitting)
        parts = {name: self._part(client, name) for name in self._buckets} if fitting else {}
        num_granted, taken = 0, dict.fromkeys(self._buckets, 0.0)
        for ask in fitting:
            needed = {name: taken[name] + _amount(ask, name) for name in taken}
            # A single amount that exceeds a burst goes into debt.
            if num_granted and any(needed[name] > parts[name] for name in taken):
                break
            if any(self._least(_amount(ask, name), name) > parts[name] for name in taken):
                break
            num_granted, taken = num_granted + 1, needed
        for name, amount in taken.items():
            self._buckets[name].take(amount)
        per_minute = {name: getattr(self._limits, RATES[name]) for name in taken}
        self._serve(client, "rates", max(taken[name] / per_minute[name] for name in taken))
        client.claims = self._claims(fitting[num_granted:])
        return num_granted

    def _claims(self, asks: Sequence[Ask]) -> dict[str, Claim]:
        if not asks:
            return {}
        return {
            name: Claim(
                self._least(_amount(asks[0], name), name),
                sum(_amount(ask, name) for ask in asks),
            )
            for name in self._buckets
        }

    def _least(self, amount: float, name: str) -> float:
        return min(amount, self._buckets[name].burst)

    def _part(self, client: _Client, name: str) -> float:
        wanting = [one for one in self._clients.values() if name in one.claims]
        wanting.sort(key=lambda one: one.served["rates"])
        level = self._buckets[name].level
        if level < wanting[0].claims[name].least:
            return 0.0
        parts = divide(level, [one.claims[name] for one in wanting])
        return parts[wanting.index(client)]


def _fitting(asks: Sequence[Ask], room: int) -> Sequence[Ask]:
    """The first of the calls, as many as there is room for."""
    for place, ask in enumerate(asks):
        room -= ask.num_texts
        if room < 0:
            return asks[:place]
    return asks


def _amount(ask: Ask, name: str) -> float:
    return ask.num_calls if name == "calls" else ask.tokens
