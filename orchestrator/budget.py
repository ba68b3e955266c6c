"""The budget of a sweep: when training stops early."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dln_core.config import LLMConfig
from dln_core.errors import ConfigError
from orchestrator.schema import BudgetConfig, RunConfig
from orchestrator.summary import TrialSummary


class Budget:
    """Adds up what a sweep has used, in this run and in earlier ones.

    Tokens are those that trials asked for, so that a resumed sweep stops where an uninterrupted
    one would; seconds are those since this run began.

    Args:
        config: The bounds.
        so_far: What earlier runs journalled.
    """

    def __init__(self, config: BudgetConfig, so_far: Iterable[TrialSummary]) -> None:
        self._config = config
        self._tokens = 0
        self._cost_usd = 0.0
        self._started_s = time.monotonic()
        for summary in so_far:
            self._tokens += summary.tokens
            self._cost_usd += summary.cost_usd or 0.0

    def add(self, event: dict[str, Any]) -> None:
        """Count a newly journalled event."""
        for counts in event["usage"].values():
            self._tokens += counts["prompt_tokens"] + counts["completion_tokens"]
        self._cost_usd += event["cost_usd"] or 0.0

    def is_exhausted(self) -> bool:
        """Tell whether any bound is reached."""
        used = {
            "max_tokens": self._tokens,
            "max_cost_usd": self._cost_usd,
            "max_seconds": time.monotonic() - self._started_s,
        }
        bounds = {name: getattr(self._config, name) for name in used}
        return any(bound is not None and used[name] >= bound for name, bound in bounds.items())


def check_prices(run: RunConfig, models: Iterable[LLMConfig]) -> None:
    """Refuse a bound on money where a model's price is unknown.

    Raises:
        ConfigError: Naming the model.
    """
    if run.budget.max_cost_usd is None:
        return
    for llm in models:
        price = llm.known_price
        prices = (price.prompt_usd_per_million, price.completion_usd_per_million)
        if llm.provider not in ("local", "simulated") and None in prices:
            raise ConfigError(
                f"budget.max_cost_usd={run.budget.max_cost_usd} cannot be kept because the price "
                f"of {llm.model} is unknown; give llm.price.prompt_usd_per_million and "
                "llm.price.completion_usd_per_million"
            )
