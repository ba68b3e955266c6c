from __future__ import annotations

import pytest

from dln_core.errors import AuthenticationError, ConfigError, LLMError, ScoringError
from orchestrator.failures import (
    FAILURES_TO_STOP,
    EndpointWatch,
    describe,
    may_retry,
    summarize,
)


@pytest.mark.parametrize("error", [AuthenticationError("k"), ConfigError("c"), ScoringError("s")])
def test_what_a_second_try_cannot_mend_is_final(error):
    assert not may_retry(error, 0, has_progressed=True)


def test_any_other_error_is_tried_once_more():
    assert may_retry(RuntimeError("x"), 0, has_progressed=False)
    assert not may_retry(RuntimeError("x"), 1, has_progressed=True)


def test_an_endpoint_that_never_answered_is_not_tried_again():
    assert not may_retry(LLMError("down"), 0, has_progressed=False)
    assert may_retry(LLMError("down"), 0, has_progressed=True)


def test_a_refused_key_ends_the_sweep_at_once():
    watch = EndpointWatch()
    watch.failed(AuthenticationError("set OPENAI_API_KEY"))
    assert watch.verdict == "set OPENAI_API_KEY"


def test_an_endpoint_that_only_fails_ends_the_sweep():
    watch = EndpointWatch()
    for _ in range(FAILURES_TO_STOP - 1):
        watch.failed(LLMError("down"))
    assert watch.verdict is None
    watch.failed(LLMError("down"))
    assert watch.verdict == "down"


def test_an_endpoint_that_answered_once_does_not_end_the_sweep(toy_plan, toy_event):
    watch = EndpointWatch()
    watch.recorded(toy_plan().trials[0], toy_event(0), 1)
    for _ in range(FAILURES_TO_STOP):
        watch.failed(LLMError("down"))
    assert watch.verdict is None


def test_trials_that_fail_by_themselves_do_not_blame_the_endpoint():
    watch = EndpointWatch()
    for _ in range(FAILURES_TO_STOP):
        watch.failed(RuntimeError("bug"))
    assert watch.verdict is None


def test_unexpected_errors_are_named_by_their_type():
    assert describe(KeyError("x")) == "KeyError: 'x'"
    assert describe(LLMError("the endpoint is down")) == "the endpoint is down"


def test_one_cause_is_told_once_with_the_names_of_what_it_ended():
    names = ["triage dln1 1", "triage dln1 2", "triage dln1 3", "triage dln1 4"]
    assert summarize({"it is down": names, "it is odd": ["routing dln1 1"]}) == [
        "triage dln1 1, triage dln1 2, triage dln1 3 and 1 more failed: it is down",
        "routing dln1 1 failed: it is odd",
    ]
