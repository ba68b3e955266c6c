"""Whether a failure during the probe is an outage, or the refusal of what was asked."""

from __future__ import annotations

from dln_core.errors import AuthenticationError, LLMError, TransientError, UnreachableError
from dln_core.llm.base import LanguageModel, Request, Response
from dln_core.llm.http_errors import FORBIDDEN
from dln_core.llm.retry import Retry

PROBE_ATTEMPTS = 3


class FailingError(LLMError):
    """A request kept failing on an endpoint that is up, as far as is known."""


class Contact:
    """Sends the requests of a probe, and tells an outage from what the endpoint cannot do.

    No connection, no answer in time and too much to do (429, 503, 529) say nothing about what was
    asked, so they are outages, which are waited out.  Other failures that repeat (many servers
    answer 500 to what they cannot do, proxies 502 while a server starts) are told apart by asking
    again what was answered before: if that is answered at once, the failure belongs to the request.

    Args:
        max_attempts: Tries of one request in an outage.  Before the first answer there are
            ``PROBE_ATTEMPTS``, so that a wrong address is told at once.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max(PROBE_ATTEMPTS, max_attempts)
        self._answered: tuple[LanguageModel, Request] | None = None

    async def send(self, model: LanguageModel, request: Request) -> Response:
        """Answer a request, trying again upon transient failures.

        Raises:
            UnreachableError: If the endpoint is down.
            FailingError: If this request keeps failing.
            LLMError: At once for a lasting failure.
        """
        num_attempts = PROBE_ATTEMPTS if self._answered is None else self._max_attempts
        failure = UnreachableError()
        for _ in range(PROBE_ATTEMPTS):
            try:
                response = await Retry(model, num_attempts, PROBE_ATTEMPTS).send(request)
            except UnreachableError as error:
                if _is_outage(error):
                    raise
                failure = error
            else:
                self._answered = self._answered or (model, request)
                return response
            if self._answered is None or await self._is_up(*self._answered):
                raise FailingError(str(failure)) from failure
        raise failure

    def is_broken_by(self, error: LLMError) -> bool:
        """Whether a failure of ``send`` leaves nothing more to ask the endpoint for."""
        if isinstance(error, AuthenticationError):
            # Of a key that has opened one path, 403 says that another is closed or unknown.
            return self._answered is None or error.status != FORBIDDEN
        return isinstance(error, UnreachableError)

    async def _is_up(self, model: LanguageModel, answered: Request) -> bool:
        """Ask again what was answered; False if that took waiting for the endpoint to come back."""
        try:
            await model.send(answered)
        except TransientError:
            await Retry(model, self._max_attempts).send(answered)
            return False
        return True


def _is_outage(error: UnreachableError) -> bool:
    return isinstance(error.__cause__, TransientError) and error.__cause__.is_outage
