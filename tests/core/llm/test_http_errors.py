"""What a refused request means, told from its status, its headers and its words."""

from __future__ import annotations

import email.utils
import pickle
import time
from typing import Any

import orjson
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import (
    AuthenticationError,
    ContextLengthError,
    LLMError,
    ParameterError,
    RequestError,
    TransientError,
)
from dln_core.llm.http_errors import failure, failure_within, retry_after_s

URL = "https://host/v1/chat/completions"
CONFIG = LLMConfig(provider="openai_compatible", base_url="https://host/v1")

REFUSED_PARAMETERS = {
    "OpenAI's max_tokens": (
        {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        },
        "max_tokens",
    ),
    "OpenAI's temperature": (
        {
            "message": "Unsupported value: 'temperature' does not support 0 with this model. Only "
            "the default (1) value is supported.",
            "param": "temperature",
            "code": "unsupported_value",
        },
        "temperature",
    ),
    "OpenAI's logprobs": (
        {"message": "You are not allowed to request logprobs from this model", "code": None},
        "logprobs",
    ),
    "OpenAI's stop": (
        {
            "message": "Unsupported parameter: 'stop' is not supported with this model.",
            "param": "stop",
            "code": "unsupported_parameter",
        },
        "stop",
    ),
    "OpenAI's responses": ({"message": "Unknown parameter: 'seed'.", "param": "seed"}, "seed"),
    "older OpenAI": ({"message": "Unrecognized request argument supplied: seed"}, "seed"),
    "Azure": (
        {"message": "logprobs, top_logprobs are not supported for this model.", "code": 400},
        "logprobs",
    ),
    "vLLM's strict fields": (
        {
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs "
            "are not permitted', 'input': 1}]",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "seed",
    ),
    "vLLM on Gaudi": (
        {"message": "Gaudi doesn't support logprobs. Please remove 'logprobs'/'top_logprobs'."},
        "logprobs",
    ),
    "Anthropic's temperature": (
        {
            "type": "invalid_request_error",
            "message": "`temperature` is deprecated for this model.",
        },
        "temperature",
    ),
    "Anthropic's seed": ({"message": "seed: Extra inputs are not permitted"}, "seed"),
    "Gemini": ({"message": "Logprobs is not enabled for models/gemini-2.5-pro"}, "logprobs"),
    "a plain word": ({"message": "top_logprobs not supported"}, "logprobs"),
}
REFUSED_REQUESTS = {
    "too many tokens asked for": {
        "message": "max_tokens is too large: 9. This model supports at most 8 completion tokens.",
        "param": "max_tokens",
        "code": "invalid_value",
    },
    "a filter": {"message": "The response was filtered; we do not support this. Please stop."},
    "an empty turn": {"message": "messages: text content blocks must be non-empty"},
}


def refused(status: int, error: Any, config: LLMConfig = CONFIG, **headers: str) -> LLMError:
    return failure(config, URL, status, headers, orjson.dumps({"error": error}))


@pytest.mark.parametrize(
    ("error", "setting"), REFUSED_PARAMETERS.values(), ids=REFUSED_PARAMETERS.keys()
)
@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_refused_parameter_is_named_with_the_setting_that_leaves_it_out(status, error, setting):
    raised = refused(status, error)
    assert type(raised) is ParameterError
    assert f"llm.omit=[{setting}]" in str(raised)
    assert ("llm.extra.max_completion_tokens=" in str(raised)) == (setting == "max_tokens")


def test_what_is_left_out_already_stays_left_out():
    config = LLMConfig(provider="simulated", omit=["seed"])
    error, _ = REFUSED_PARAMETERS["OpenAI's temperature"]
    assert "llm.omit=[seed,temperature]" in str(refused(400, error, config))


@pytest.mark.parametrize("error", REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_told_from_a_refused_parameter(status, error):
    assert type(refused(status, error)) is RequestError


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(status):
    raised = refused(status, {"message": "no"})
    assert type(raised) is AuthenticationError
    assert "OPENAI_API_KEY" in str(raised)
    assert raised.status == pickle.loads(pickle.dumps(raised)).status == status


@pytest.mark.parametrize(("status", "kind"), [(404, LLMError), (405, LLMError), (501, LLMError)])
def test_other_lasting_failures_name_the_address_and_the_model(status, kind):
    raised = refused(status, {"message": "no such model"})
    assert type(raised) is kind
    assert "check llm.base_url" in str(raised)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "You exceeded your current quota.", "code": "insufficient_quota"}),
        (429, {"message": "You exceeded your current quota.", "type": "insufficient_quota"}),
        (400, {"message": "Your credit balance is too low to access the Anthropic API."}),
        (402, {"message": "Insufficient credits", "code": 402}),
    ],
)
def test_an_account_without_credit_is_a_lasting_failure_that_says_so(status, error):
    raised = refused(status, error)
    assert type(raised) is LLMError
    assert "no credit left" in str(raised)


@pytest.mark.parametrize("answers", [{}, {"choices": None}, {"output": []}, {"content": []}])
def test_an_error_that_comes_instead_of_answers_is_found(answers):
    body = answers | {"error": {"code": 403, "message": "flagged"}}
    raised = failure_within(CONFIG, URL, {}, body, orjson.dumps(body))
    assert type(raised) is RequestError
    assert "answered 403: flagged" in str(raised)


def test_an_overload_inside_an_answer_tells_the_wait_by_its_headers():
    body = {"error": {"code": 429, "message": "slow down"}}
    raised = failure_within(CONFIG, URL, {"Retry-After": "7"}, body, orjson.dumps(body))
    assert isinstance(raised, TransientError)
    assert (raised.is_overload, raised.retry_after_s) == (True, 7)


@pytest.mark.parametrize(
    "body",
    [
        *([], None, {}, {"error": None}, {"error": "no"}, {"error": {"code": True}}),
        *({"error": {"code": 200}}, {"error": {"code": "unheard_of"}}, {"error": {"code": [1]}}),
        {"choices": [{}], "error": {"code": 403}},
    ],
)
def test_what_holds_no_code_or_an_answer_is_left_to_who_reads_it(body):
    assert failure_within(CONFIG, URL, {}, body, orjson.dumps(body)) is None


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_transient_and_an_overload_where_there_was_too_much_to_do(status):
    raised = refused(status, {"message": "later"})
    assert isinstance(raised, TransientError)
    assert raised.is_overload == (status in (429, 503, 529))
    # What a server answers to all it cannot do is no outage.
    assert raised.is_outage == (status in (408, 429, 503, 504, 529))
    assert vars(pickle.loads(pickle.dumps(raised))) == vars(raised)


def test_a_request_that_is_too_long_is_one_whatever_parameter_it_blames():
    error = {"message": "maximum context length is 8, seed not supported", "param": "seed"}
    assert type(refused(400, error)) is ContextLengthError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"error": {"message": "no", "code": "bad"}}', "answered 404: no bad"),
        (b'{"error": "no"}', "answered 404: no"),
        (b'{"detail": "no"}', "answered 404: no"),
        (b'{"object": "error", "message": "no"}', "answered 404: no"),
        (b"[1]", "answered 404: [1]"),
        (b"<html>", "answered 404: <html>"),
        (b"", "answered 404: no explanation"),
    ],
)
def test_an_error_says_what_the_endpoint_said(content, said):
    assert said in str(failure(CONFIG, URL, 404, {}, content))


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (503, {}, None),
        (503, {"Retry-After": "1.5"}, 1.5),
        (503, {"Retry-After": "-1"}, 0.0),
        (503, {"Retry-After": "soon"}, None),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        (429, {"Retry-After": "9", "retry-after-ms": "120"}, 0.12),
        (429, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, 0.12),
        (429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            429,
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h1m1.5s"},
            3661.5,
        ),
        (429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}, 1.0),
        (429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7"}, 7.0),
        (429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "later"}, None),
        # A budget with something left says nothing of the one that is used up.
        (429, {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1s"}, None),
        (503, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}, None),
        (
            429,
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}
            | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"},
            2.0,
        ),
    ],
)
def test_the_wait_is_what_the_headers_ask_for(status, headers, expected):
    assert retry_after_s(status, headers) == expected


def test_a_date_is_waited_for():
    now = time.time()
    waited = retry_after_s(503, {"Retry-After": email.utils.formatdate(now + 100, usegmt=True)})
    assert waited is not None
    assert waited == pytest.approx(100, abs=2 + time.time() - now)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_says_where_to(status):
    error = failure(CONFIG, URL, status, {"Location": "https://new/v1"}, b"<html>moved</html>")
    assert type(error) is LLMError
    assert "redirects to https://new/v1" in str(error)


def test_a_page_is_told_in_one_line():
    error = failure(CONFIG, URL, 502, {}, b"<html>\n<h1>502 Bad\r\n  Gateway</h1>\n</html>")
    assert str(error) == f"{URL} answered 502: <html> <h1>502 Bad Gateway</h1> </html>"


@pytest.mark.parametrize("year", [10_000, 99_999])
def test_a_date_beyond_the_calendar_is_none(year):
    assert retry_after_s(429, {"Retry-After": f"Fri, 31 Dec {year} 23:59:59 GMT"}) is None
