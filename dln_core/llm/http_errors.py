"""What a refused or failed HTTP request means, and what to do about it."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from dln_core.config import LLMConfig
from dln_core.errors import (
    AuthenticationError,
    ContextLengthError,
    LLMError,
    ParameterError,
    RequestError,
    TransientError,
)

TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
OVERLOAD_STATUS = frozenset({429, 503, 529})
OUTAGE_STATUS = OVERLOAD_STATUS | {408, 504}
REQUEST_STATUS = frozenset({400, 413, 422})
KEY_STATUS = frozenset({401, 403})
NO_CREDIT_STATUS = 402
FORBIDDEN = 403
NOT_IMPLEMENTED = 501
# What a body holds its answer in, by api and rung.
_ANSWERS = ("choices", "scores", "output", "content", "tokens")
# How the responses api calls what others give a status.
_STATUS_OF_CODE = {"rate_limit_exceeded": 429, "invalid_prompt": 400}
_ABOUT_KEY = re.compile(r"\b(key|credentials?|unauthori[sz]ed)\b", re.IGNORECASE)
# How OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, Anthropic and Gemini say it.  Not llama.cpp's
# "Context size has been exceeded": other requests fill the memory that all share, which passes.
_TOO_LONG = re.compile(
    r"context[ _](length|window)|available context size|maximum model length"
    r"|prompt (is )?too long|`max_new_tokens` must be <=|input token count",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"insufficient_quota|billing_hard_limit_reached|billing_not_active|credit balance is too low",
    re.IGNORECASE,
)
# The setting that leaves a parameter out, by what endpoints call the parameter.
_SETTINGS = {
    "temperature": "temperature",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
}
_REFUSAL = re.compile(
    r"unsupported|(not|n't) support|deprecated|(not|n't) (permitted|allowed|enabled|available)"
    r"|unrecogni[sz]ed|unknown (field|param|arg|name)|unexpected|extra_forbidden|only the default",
    re.IGNORECASE,
)
# "stop" is also a plain word, so it counts in quotes alone.
_PARAMETER = re.compile(
    r"\b(temperature|seed|stop_sequences|max_tokens|max_output_tokens|(top_)?logprobs)\b"
    r"|(?<=['\"`])stop(?=['\"`])",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def failure(
    config: LLMConfig, url: str, status: int, headers: Mapping[str, str], content: bytes
) -> LLMError:
    """Return the error that an answer other than 200 stands for.

    Args:
        config: The endpoint's settings, which the remedies name.
        url: Where the request went.
        status: The answer's HTTP status.
        headers: The answer's headers, in any case.
        content: The answer's body, without the key.
    """
    if 300 <= status < 400:
        return LLMError(
            f"{url} redirects to {headers.get('Location', 'nowhere')} ({status}); give the address "
            "that answers itself as llm.base_url"
        )
    said = explanation(content)
    told = f"{url} answered {status}: {said}"
    setting = _refused_setting(content, said)
    # OpenAI forbids log-probs of some models.
    if status == FORBIDDEN and setting:
        return _parameter_error(config, told, setting)
    if status in KEY_STATUS:
        return AuthenticationError(
            f"{url} refused the key ({status}: {said}); put a valid key into the environment "
            f"variable {config.api_key_env} (setting llm.api_key_env)",
            status,
        )
    if status == NO_CREDIT_STATUS or _NO_CREDIT.search(said):
        return LLMError(f"{told}; the account has no credit left, so add some and run this again")
    # Some servers say it with a 500.
    if status not in TRANSIENT_STATUS and _TOO_LONG.search(said):
        return ContextLengthError(f"{url} refused a request that is too long: {said}")
    if status in TRANSIENT_STATUS or (status >= 500 and status != NOT_IMPLEMENTED):
        wait_s = retry_after_s(status, headers)
        return TransientError(told, wait_s, status in OVERLOAD_STATUS, status in OUTAGE_STATUS)
    if status in REQUEST_STATUS:
        return _parameter_error(config, told, setting) if setting else RequestError(told)
    return LLMError(f"{told}; check llm.base_url, llm.api and llm.model")


def failure_within(
    config: LLMConfig, url: str, headers: Mapping[str, str], body: Any, content: bytes
) -> LLMError | None:
    """Return the error that an answer with status 200 holds instead of a text, if it has a code.

    Gateways send the status before they know what becomes of a request.

    Args:
        config: The endpoint's settings, which the remedies name.
        url: Where the request went.
        headers: The answer's headers, in any case.
        body: The answer's body.
        content: The same as it came, without the key.
    """
    if not isinstance(body, dict) or any(body.get(name) for name in _ANSWERS):
        return None
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    status = _STATUS_OF_CODE.get(code, code) if isinstance(code, str) else code
    if type(status) is not int or not 400 <= status < 600:
        return None
    found = failure(config, url, status, headers, content)
    # The key has opened the endpoint, so what is forbidden is most often a text.
    is_text = status == FORBIDDEN and not _ABOUT_KEY.search(explanation(content))
    if is_text and isinstance(found, AuthenticationError):
        return RequestError(f"{url} answered {status}: {explanation(content)}")
    return found


def explanation(content: bytes) -> str:
    """What an error's body says, in one line, with its code."""
    error = _error_of(content)
    if error is None:
        said = content.decode(errors="replace")
    elif isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
        said = f"{message} {error.get('code') or error.get('type') or ''}"
    else:
        said = str(error)
    return " ".join(said.split())[:300] or "no explanation"


def retry_after_s(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait; None if it says nothing.

    Beside ``Retry-After`` (seconds or a date) and ``retry-after-ms``, a 429 may tell when a budget
    that is used up is full again.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    after = headers.get("Retry-After", "")
    seconds = _number(after)
    if seconds is not None:
        return max(0.0, seconds)
    until = _date(after)
    if until is not None:
        return max(0.0, until - time.time())
    if status != 429:
        return None
    resets = [
        _duration_s(headers.get(f"x-ratelimit-reset-{budget}", ""))
        for budget in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{budget}")) == 0
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def _parameter_error(config: LLMConfig, told: str, setting: str) -> ParameterError:
    omit = ",".join([*(name for name in config.omit if name != setting), setting])
    # The request must be bounded all the same; reasoning models have another name for it.
    more = " llm.extra.max_completion_tokens=4096" if setting == "max_tokens" else ""
    return ParameterError(f"{told}; leave the parameter out: llm.omit=[{omit}]{more}")


def _refused_setting(content: bytes, said: str) -> str | None:
    error = _error_of(content)
    code = error.get("code") if isinstance(error, dict) else None
    named = str(error.get("param") or "").lower() if isinstance(error, dict) else ""
    is_refusal = code in ("unsupported_parameter", "unsupported_value") or _REFUSAL.search(said)
    if not is_refusal:
        return None
    found = _PARAMETER.search(said)
    return _SETTINGS.get(named) or (_SETTINGS[found[0].lower()] if found else None)


def _error_of(content: bytes) -> Any:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body.get("error", body) if isinstance(body, dict) else body


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _date(text: str) -> float | None:
    """Read a date, in Unix seconds."""
    date = email.utils.parsedate_tz(text)
    try:
        return None if date is None else email.utils.mktime_tz(date)
    except (ValueError, OverflowError):
        # The calendar ends with the year 9999.
        return None


def _duration_s(text: str) -> float | None:
    """Read ``6m0s``, ``120ms`` or a plain number of seconds."""
    plain = _number(text)
    if plain is not None:
        return max(0.0, plain)
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
