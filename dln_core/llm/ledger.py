"""Counting of calls, tokens and money, by what they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from dln_core.config import PriceConfig
from dln_core.llm.allowance import Allowance, Amount
from dln_core.llm.base import GenerateRequest, LanguageModel, Request, Response
from dln_core.llm.limits import estimate_tokens
from dln_core.types import Role


@dataclass(slots=True)
class Counts:
    """What was asked for, and how much of it had to be sent and paid."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    paid_calls: int = 0
    paid_prompt_tokens: int = 0
    paid_completion_tokens: int = 0

    def add(self, response: Response) -> None:
        """Count one response."""
        self.calls += 1
        self.prompt_tokens += response.usage.prompt_tokens
        self.completion_tokens += response.usage.completion_tokens
        self.paid_calls += response.paid
        self.paid_prompt_tokens += response.paid_usage.prompt_tokens
        self.paid_completion_tokens += response.paid_usage.completion_tokens


@dataclass(slots=True, eq=False)
class Ledger:
    """Counts by role, and the money spent in US dollars; ``allowance`` bounds what is counted."""

    by_role: dict[Role, Counts] = field(default_factory=dict)
    known_cost_usd: float = 0.0
    has_unknown_prices: bool = False
    allowance: Allowance | None = None

    def record(self, request: Request, response: Response, price: PriceConfig) -> None:
        """Count one call; a paid call of unknown price makes the whole cost unknown."""
        self.by_role.setdefault(request.role, Counts()).add(response)
        if not response.paid:
            return
        paid = response.paid_usage
        cost_usd = price.cost_usd(paid.prompt_tokens, paid.completion_tokens)
        if cost_usd is None:
            self.has_unknown_prices = True
        else:
            self.known_cost_usd += cost_usd

    @property
    def cost_usd(self) -> float | None:
        """Money spent, or None where a price is not known."""
        return None if self.has_unknown_prices else self.known_cost_usd

    def usage(self) -> dict[str, dict[str, int]]:
        """Return the counts as plain JSON values."""
        return {role.value: asdict(counts) for role, counts in sorted(self.by_role.items())}

    def totals(self) -> Counts:
        """Sum the counts over all roles."""
        total = Counts()
        for counts in self.by_role.values():
            for name, value in asdict(counts).items():
                setattr(total, name, getattr(total, name) + value)
        return total


class Metered:
    """A transport that enters every answer into the open ledgers, within their allowances."""

    def __init__(self, inner: LanguageModel, ledgers: Sequence[Ledger], price: PriceConfig) -> None:
        self._inner = inner
        self._ledgers = ledgers
        self._price = price

    async def send(self, request: Request) -> Response:
        """Answer by the inner model and count the answer.

        Raises:
            BudgetError: If an allowance does not suffice.
            LLMError: If the request failed for good.
        """
        bounds = [each.allowance for each in self._ledgers if each.allowance is not None]
        if not bounds:
            return await self._counted(request)
        (allowance,) = bounds
        expected, used = self._expected(request), Amount()
        await allowance.reserve(expected)
        try:
            response = await self._counted(request)
            used = self._used(response)
            return response
        finally:
            allowance.settle(expected, used)

    async def _counted(self, request: Request) -> Response:
        response = await self._inner.send(request)
        for ledger in self._ledgers:
            ledger.record(request, response, self._price)
        return response

    def _expected(self, request: Request) -> Amount:
        tokens = estimate_tokens(request)
        written = request.max_tokens if isinstance(request, GenerateRequest) else 0
        return Amount(tokens, self._price.cost_usd(tokens - written, written) or 0.0)

    def _used(self, response: Response) -> Amount:
        usage, paid = response.usage, response.paid_usage
        cost_usd = self._price.cost_usd(paid.prompt_tokens, paid.completion_tokens) or 0.0
        return Amount(usage.prompt_tokens + usage.completion_tokens, cost_usd)
