"""What a trainer's process and the limiter of an endpoint tell each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dln_core.config import LimitsConfig

# Silent for so long, a client is taken for dead: what it holds is given to others.
LEASE_S = 10.0
# How often a client asks again that lacks something, and shows that it lives one that does not.
POLL_S = 0.1
HEARTBEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that waits.

    Attributes:
        num_texts: Texts that are in flight with it.
        num_calls: HTTP calls that it consists of.
        tokens: Tokens that it is expected to use.
    """

    num_texts: int
    num_calls: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is over.

    Attributes:
        num_texts: Texts that were in flight with it.
        took_s: Seconds from its start to its end.
        ago_s: Seconds since its end; clocks of two machines do not compare.
    """

    num_texts: int
    took_s: float
    ago_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a client has, wants, and has settled since its last report.

    Attributes:
        client: Names the client.
        limits: What it was told that the endpoint allows.
        num_in_flight: Texts in flight.
        num_held: Texts that it may have in flight under its present lease.
        num_started: Texts that it started.
        asks: The first of the calls that wait, in order.
        answered: Calls that were answered.
        overloaded: Calls for which the endpoint had too much to do.
        tokens_over: Tokens used beyond those that were reserved; negative if they were fewer.
        calls_over: HTTP calls that were granted and not made, as a negative number.
        pause_s: Seconds for which the endpoint asked to be left alone.
        leaves: Whether this is its last report.
    """

    client: str
    limits: LimitsConfig
    num_in_flight: int = 0
    num_held: int = 0
    num_started: int = 0
    asks: tuple[Ask, ...] = ()
    answered: tuple[Ended, ...] = ()
    overloaded: tuple[Ended, ...] = ()
    tokens_over: float = 0.0
    calls_over: int = 0
    pause_s: float = 0.0
    leaves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What a client may do until it reports again, or for ``LEASE_S`` from its report on.

    Attributes:
        num_granted: How many of the calls that were asked for start now.
        num_held: Texts that it may have in flight, starting further calls by itself; 0 where a
            rate is kept, since then every call is granted.
        pause_s: Seconds for which nothing may be started.
        again_s: Seconds after which it may report again, at the earliest.
    """

    num_granted: int = 0
    num_held: int = 0
    pause_s: float = 0.0
    again_s: float = 0.0


def strictest(limits: Iterable[LimitsConfig]) -> LimitsConfig:
    """Combine what several clients were told of an endpoint."""
    several = list(limits)

    def least(name: str) -> float | None:
        known = [getattr(one, name) for one in several if getattr(one, name) is not None]
        return min(known, default=None)

    cap = least("max_concurrency")
    return LimitsConfig(
        requests_per_minute=least("requests_per_minute"),
        tokens_per_minute=least("tokens_per_minute"),
        max_concurrency=None if cap is None else int(cap),
    )
