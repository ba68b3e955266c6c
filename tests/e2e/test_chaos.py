"""Whatever part of a sweep is killed, the same results come out and no answer is paid for twice."""

from __future__ import annotations

import pytest

from tests.e2e.chaos import KILLS, disturbed, undisturbed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("calm"))


@pytest.mark.parametrize("kind", KILLS)
def test_results_are_equal_and_only_calls_in_flight_are_repeated(calm, kind, tmp_path):
    verdict = disturbed(tmp_path, kind, 0, calm)
    assert verdict.is_good, verdict
