"""What was lost to requests that the endpoint refuses for good, and why.

Such a request fails the sample that it was made for; the rest goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dln_core.errors import RequestError

# Endpoints may repeat the whole request in their refusal.
MAX_REASON_CHARS = 300

# Under the name of the metric that counts them, in the order of what they were made for.
Failures = Mapping[str, Sequence[RequestError]]


def merged(*failures: Failures) -> dict[str, list[RequestError]]:
    """Join what was lost in several places, under each name in the order given."""
    result: dict[str, list[RequestError]] = {}
    for part in failures:
        for name, errors in part.items():
            result.setdefault(name, []).extend(errors)
    return result


def counts(failures: Failures) -> dict[str, float]:
    """How many there are under each name, as metrics; none where there are none."""
    return {name: float(len(errors)) for name, errors in failures.items() if errors}


def reasons(failures: Failures) -> dict[str, str]:
    """The first reason under each name, for the record."""
    return {name: reason(errors[0]) for name, errors in failures.items() if errors}


def reason(error: RequestError) -> str:
    """What the endpoint said, on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 1]}…"
