"""How long a plan will take by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.planning.amounts import Estimate
from orchestrator.planning.call_costs import Cost
from orchestrator.settings.schema import RunConfig

# The local model on one core: measured with the default weights.
_LOCAL_PROMPT_TOKENS_PER_S = 290.0
_LOCAL_COMPLETION_TOKENS_PER_S = 140.0
# Another processor, more of its cores, and other programs beside.
_LOCAL_SPEED_RANGE = 2.0


def timed(estimate: Estimate, run: RunConfig) -> Estimate:
    """Add the time that the endpoint's limits or the speed of the local model lead to.

    Without either the time stays unknown.  Limits tell the least time: an endpoint may be slower.
    """
    if run.llm.provider == "local":
        measured = _at_pace(estimate, _seconds_of_local_model)
        low = (measured.low.seconds or 0.0) / _LOCAL_SPEED_RANGE
        high = (measured.high.seconds or 0.0) * _LOCAL_SPEED_RANGE
        return replace(
            measured,
            low=replace(measured.low, seconds=low),
            high=replace(measured.high, seconds=high),
            time_basis="local",
        )
    if run.limits.requests_per_minute is None and run.limits.tokens_per_minute is None:
        return estimate
    limited = _at_pace(estimate, lambda total: _seconds_by_limits(total, run))
    return replace(limited, time_basis="limits")


def _at_pace(estimate: Estimate, seconds: Callable[[Cost], float]) -> Estimate:
    return replace(
        estimate,
        seconds=seconds(estimate.total),
        low=replace(estimate.low, seconds=seconds(estimate.low.cost)),
        high=replace(estimate.high, seconds=seconds(estimate.high.cost)),
    )


def _seconds_of_local_model(total: Cost) -> float:
    return (
        total.prompt_tokens / _LOCAL_PROMPT_TOKENS_PER_S
        + total.completion_tokens / _LOCAL_COMPLETION_TOKENS_PER_S
    )


def _seconds_by_limits(total: Cost, run: RunConfig) -> float:
    limits = run.limits
    return max(
        60.0 * amount / allowed
        for amount, allowed in (
            (total.calls, limits.requests_per_minute),
            (total.tokens, limits.tokens_per_minute),
        )
        if allowed is not None
    )
