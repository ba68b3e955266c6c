"""How many texts an endpoint can usefully have in flight, learned from how it answers."""

from __future__ import annotations

import math

START = 32
STEP = 4
DECREASE = 0.5
# Growth is judged once it is large enough to tell from noise, and is worth it if throughput rises
# by at least a quarter of what it would on an idle endpoint.
JUDGED_GROWTH = 1.25
WORTH = 0.25
ROUNDS_HELD = 8


class AdaptiveConcurrency:
    """A limit on texts in flight that grows while that helps and shrinks when it harms.

    It begins at ``start``, doubles a round trip, then grows by ``STEP`` texts a round trip; an
    overload (429, 503, a timeout) halves it, once a round trip, down to one.

    Latency alone is no reason to shrink: an endpoint that computes in batches answers each request
    more slowly and all of them faster.  By Little's law n texts in flight that take L seconds each
    make n / L a second.  If that did not rise with the limit, the limit goes back to where it was,
    never below ``start``, and stays for some rounds before it grows again.

    The time comes in with every call, in seconds on any clock.

    Args:
        cap: Upper bound; None means none.
        start: Where it begins.

    Source: slow start and additive increase as in RFC 5681 (TCP congestion control).
    """

    def __init__(self, cap: int | None, start: int = START) -> None:
        self._cap = math.inf if cap is None else cap
        self._start = self._limit = float(min(self._cap, start))
        self._doubles = True
        self._rounds_to_hold = 0
        # A limit and the texts a second that it made, to which a larger limit is compared.
        self._compared = (self._limit, 0.0)
        self._decreased_at = -math.inf
        self._begin_round(-math.inf)

    @property
    def limit(self) -> int:
        """Texts that may be in flight now; at least one."""
        return int(self._limit)

    def hold_up(self) -> None:
        """Note that a request has to wait for others to end: the limit is in use."""
        self._is_full = True

    def answer(self, num_texts: int, sent_at: float, now: float) -> None:
        """Note an answer."""
        # What was sent under another limit tells nothing about this one.
        if sent_at < self._began_at:
            return
        self._num_texts += num_texts
        self._text_seconds += num_texts * (now - sent_at)
        if self._num_texts >= self.limit:
            if self._is_full:
                self._adapt()
            self._begin_round(now)

    def overload(self, sent_at: float, now: float) -> None:
        """Note that the endpoint had too much to do for a request, or kept it waiting too long."""
        # One overload refuses many requests that were sent together.
        if sent_at < self._decreased_at:
            return
        self._limit = max(1.0, self._limit * DECREASE)
        self._doubles = False
        self._compared = (self._limit, 0.0)
        self._decreased_at = now
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._began_at = now
        self._num_texts = 0
        self._text_seconds = 0.0
        self._is_full = False

    def _adapt(self) -> None:
        latency_s = max(self._text_seconds / self._num_texts, 1e-9)
        throughput = self._limit / latency_s
        limit, reached = self._compared
        growth = self._limit / limit
        is_judged = growth >= JUDGED_GROWTH and self._limit > self._start
        if self._rounds_to_hold:
            self._rounds_to_hold -= 1
            self._compared = (self._limit, throughput)
        elif is_judged and throughput < reached * (1 + WORTH * (growth - 1)):
            self._limit = max(self._start, limit)
            self._doubles = False
            self._rounds_to_hold = ROUNDS_HELD
        else:
            if is_judged or self._limit <= max(self._start, limit):
                self._compared = (self._limit, throughput)
            grown = 2 * self._limit
            self._limit = min(self._cap, grown if self._doubles else min(grown, self._limit + STEP))
