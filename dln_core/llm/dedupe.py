"""Equal requests in flight share one call."""

from __future__ import annotations

from dataclasses import replace

from dln_core.llm.base import LanguageModel, Request, Response, without_role
from dln_core.llm.flights import Flight


class Dedupe:
    """A transport that sends equal requests once while they are in flight.

    Who asked first pays; the others get the same answer, or the same error, unpaid.  Where the
    first is cancelled, the next one sends.
    """

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self._flights: dict[Request, Flight[Response]] = {}

    async def send(self, request: Request) -> Response:
        """Answer by the inner model, or by the call that an equal request is making.

        Raises:
            LLMError: If the request failed for good.
        """
        is_payer = False

        async def pay() -> Response:
            nonlocal is_payer
            is_payer = True
            return await self._inner.send(request)

        key = without_role(request)
        flight = self._flights.setdefault(key, Flight())
        try:
            response = await flight.join(pay)
        finally:
            if flight.is_over and self._flights.get(key) is flight:
                del self._flights[key]
        return response if is_payer else replace(response, paid=False)
