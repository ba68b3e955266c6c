"""Stored answers alone: a model behind the stores that is never asked."""

from __future__ import annotations

from dln_core.errors import NotStoredError
from dln_core.llm.base import Request, Response


class Nobody:
    """Answers nothing, so that of the stores around it only what they hold is given."""

    async def send(self, request: Request) -> Response:
        """Refuse.

        Raises:
            NotStoredError: Always.
        """
        raise NotStoredError(
            "an answer is not among the stored ones, and no endpoint is to be asked"
        )
