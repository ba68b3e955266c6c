"""Every error that the project raises on purpose.

Each message says what was wrong, what arrived and what to do.  All constructor arguments have
defaults, so that an error keeps its type when it is pickled across processes.
"""

from __future__ import annotations


class DLNError(Exception):
    """Base of all errors of this project; ``exit_code`` is what the command line returns."""

    exit_code = 1


class ConfigError(DLNError, ValueError):
    """A setting is wrong; nothing was started."""

    exit_code = 2


class DataError(DLNError, ValueError):
    """A data file is missing, damaged or does not hold what its task needs."""

    exit_code = 2


class ExportError(DLNError):
    """An exported network is not the one that was trained, or does not do as well."""


class WeightsError(DLNError):
    """Model weights could not be obtained or fail their check."""


class LLMError(DLNError):
    """A request to a language model failed for good."""


class AuthenticationError(LLMError):
    """The endpoint refused the key.

    Attributes:
        status: By which HTTP status, 401 or 403; None if that is not known.
    """

    def __init__(self, message: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[AuthenticationError], tuple[str, int | None]]:
        return type(self), (str(self), self.status)


class UnreachableError(LLMError):
    """The endpoint kept failing until the attempts were used up."""


class ParameterError(LLMError):
    """The endpoint refuses a parameter that every request has, whatever its texts."""


class RequestError(LLMError):
    """The endpoint refuses this one request for good (400, 413, 422); others may succeed."""


class ContextLengthError(RequestError):
    """The request is longer than the model's context."""


class ScoringError(RequestError):
    """The endpoint cannot return the log-probs that were asked for."""


class NotStoredError(LLMError):
    """The stored answers alone were to answer, and this one is not among them."""


class TransientError(LLMError):
    """A failure that may pass: connection, timeout, 408, 409, 429, 5xx or a broken body.

    Attributes:
        retry_after_s: What the endpoint asked to wait, in seconds; None if it said nothing.
        is_overload: Whether the endpoint had too much to do (429, 503, 529).
        is_outage: Whether any other request would have met it too: no connection, no answer in
            time, or too much to do.
    """

    def __init__(
        self,
        message: str = "",
        retry_after_s: float | None = None,
        is_overload: bool = False,
        is_outage: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_overload = is_overload
        self.is_outage = is_outage

    def __reduce__(self) -> tuple[type[TransientError], tuple[str, float | None, bool, bool]]:
        return type(self), (str(self), self.retry_after_s, self.is_overload, self.is_outage)


class BudgetError(DLNError):
    """A unit of work would use more than its budget leaves for it; it was given up."""


class JournalError(DLNError):
    """An output folder cannot be read or written, or belongs to another driver."""


class TrackingError(DLNError):
    """The tracking store is locked, foreign or out of reach."""


class ClusterError(DLNError):
    """The cluster cannot be reached or cannot place what was asked for."""
