"""What the failure of a trial means: whether to try again, and whether to give up the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dln_core.errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    LLMError,
    ParameterError,
    RequestError,
    WeightsError,
)
from orchestrator.planning.plan import PlannedTrial
from orchestrator.summary import WORK

MAX_RETRIES = 1
FAILURES_TO_STOP = 3
MAX_NAMES = 3

_FINAL = (
    AuthenticationError,
    ConfigError,
    DataError,
    ParameterError,
    RequestError,
    WeightsError,
)


def describe(error: Exception) -> str:
    """Return the sentence that is recorded and shown for a failure."""
    text = " ".join(str(error).split())
    return text if text and isinstance(error, LLMError | ConfigError) else _typed(error, text)


def _typed(error: Exception, text: str) -> str:
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def summarize(failures: Mapping[str, Sequence[str]]) -> list[str]:
    """Say each cause once, with the names of what failed of it.

    Args:
        failures: Names by the sentence of ``describe``.
    """
    return [f"{listed(names)} failed: {sentence}" for sentence, names in failures.items()]


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:MAX_NAMES])
    num_more = len(names) - MAX_NAMES
    return f"{shown} and {num_more} more" if num_more > 0 else shown


def may_retry(error: Exception, num_retries: int, has_progressed: bool) -> bool:
    """Tell whether to start a trial again after its own error.

    Errors that a second try cannot mend are final.  Requests were already repeated below, so an
    LLM error is worth another start only after the endpoint has answered this trial.
    """
    if isinstance(error, _FINAL) or num_retries >= MAX_RETRIES:
        return False
    return has_progressed or not isinstance(error, LLMError)


class EndpointWatch:
    """Notices that an endpoint is of no use, so that a sweep does not fail trial by trial.

    A refused key counts at once, other LLM errors after some in a row; nothing counts once the
    endpoint has let any trial do a step in this run.
    """

    def __init__(self) -> None:
        self._has_answered = False
        self._num_failures = 0
        self.verdict: str | None = None

    def moved(self, trial: PlannedTrial, phase: str) -> None:
        """Ignore phases: only steps tell of the endpoint."""

    def recorded(self, trial: PlannedTrial, event: dict[str, Any], num_events: int) -> None:
        """Note that a trial has done a step."""
        self._has_answered = self._has_answered or event["kind"] in WORK

    def failed(self, error: Exception) -> None:
        """Note the failure of a trial; ``verdict`` holds the sentence once it is enough."""
        if self._has_answered or not isinstance(error, LLMError):
            return
        self._num_failures += 1
        if isinstance(error, AuthenticationError) or self._num_failures >= FAILURES_TO_STOP:
            self.verdict = describe(error)
