"""Which settings are tried: the same ones whenever the same search is asked."""

from __future__ import annotations

import warnings

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dln_core.errors import ConfigError
from orchestrator.search.sampling import Tried, choose, draw, first_settings, next_settings
from orchestrator.search.space import Choice, Numbers, Space
from orchestrator.settings.schema import ClusterConfig, RunConfig, SearchConfig

SPACE = Space((Choice("a", ("x", "y")), Numbers("b", 0.0, 1.0), Numbers("c", 1, 9)), {})


def run_of(**search):
    return RunConfig(search=SearchConfig(**search), cluster=ClusterConfig(max_trials=3))


def peak(setting):
    """Best in the middle of b, and a little better with x."""
    return 0.9 - abs(float(setting["b"]) - 0.5) + 0.05 * (setting["a"] == "x")


def searched(num_settings, *, seed=0):
    """All settings of a search by Optuna, with their dev accuracies."""
    run, tried = run_of(kind="optuna", num_settings=num_settings, seed=seed), []
    while following := next_settings(run, SPACE, tried):
        assert len(following) == min(3, num_settings - len(tried))
        tried += [Tried(setting, peak(setting)) for setting in following]
    return tried


def test_random_settings_are_a_function_of_the_seed():
    assert draw(SPACE, 8, seed=1) == draw(SPACE, 8, seed=1)
    assert draw(SPACE, 8, seed=1) != draw(SPACE, 8, seed=2)


def test_a_longer_random_search_begins_with_the_shorter_one():
    short, long = (run_of(kind="random", num_settings=n, seed=1) for n in (3, 7))
    assert first_settings(long, SPACE)[:3] == first_settings(short, SPACE)
    assert next_settings(short, SPACE, [Tried(s, 0.5) for s in draw(SPACE, 3, 1)]) == []


def test_the_same_results_lead_to_the_same_settings():
    assert searched(15) == searched(15)
    assert searched(15)[:9] == searched(9)
    assert searched(15) != searched(15, seed=1)


def test_optunas_later_settings_are_nearer_to_the_best():
    tried = searched(60, seed=1)
    means = [sum(each.dev_accuracy for each in part) / 20 for part in (tried[:20], tried[40:])]
    assert means[1] > means[0] + 0.1


def test_settings_of_one_round_differ():
    known = [Tried(setting, peak(setting)) for setting in draw(SPACE, 12, seed=3)]
    chosen = choose(SPACE, known, 4, seed=3)
    assert len({setting["b"] for setting in chosen}) == 4


def test_a_setting_without_result_is_passed_over():
    known = [Tried(setting, peak(setting)) for setting in draw(SPACE, 12, seed=3)]
    failed = [Tried(setting, None) for setting in draw(SPACE, 2, seed=4)]
    assert len(choose(SPACE, [*known, *failed], 4, seed=3)) == 4


@pytest.mark.parametrize(
    "values",
    [
        "range(0.5,1.51,0.0625)", "range(0.12345,1.0,0.1)", "range(0,1,0.05)", "range(1,0,-0.05)",
        "range(-1,1,0.3)", "range(10001.5,10002,0.0001)", "range(1e-7,1e-6,1e-7)", "range(1,10,4)",
        "range(10,1,-3)", "range(1.0,5,1)", "tag(log,range(1,500))", "interval(0.3,1.0)",
        "interval(10001.5,10009.5)", "interval(-3e-9,2e-9)", "interval(2.5,2.5)",
        "interval(0.123456,0.123457)", "tag(log,interval(1e-6,3.3333))", "int(interval(2,9))",
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_was_drawn_is_read_back_as_what_it_was_drawn_from(values, seed):
    space = Space.of(OverridesParser.create().parse_overrides([f"a.b={values}"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried = [Tried(setting, 0.5) for setting in draw(space, 20, seed)]
        chosen = choose(space, tried, 20, seed)
    for setting in (*chosen, *(each.setting for each in tried)):
        (read,) = space.params(setting).values()
        assert space.distributions()["a.b"]._contains(read)
        assert space.setting(space.params(setting)) == setting


def test_a_search_goes_on_from_a_value_between_two_steps_that_an_earlier_version_recorded():
    space = Space.of(OverridesParser.create().parse_overrides(["a.b=range(0.5,1.51,0.0625)"]))
    assert space.setting(space.params({"a.b": "1.062"})) == {"a.b": "1.0625"}
    assert len(choose(space, [Tried({"a.b": "1.062"}, 0.5)], 2, seed=0)) == 2


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "bayes"}, "search.kind=bayes is unknown"),
        ({"num_settings": 3}, "num_settings=3 has no meaning with search=grid"),
        ({"kind": "optuna", "num_settings": 0, "seed": 0}, "num_settings=0 must be 1 or more"),
        ({"kind": "random", "num_settings": 3, "seed": -1}, "seed=-1 must be 0 or more"),
        ({"kind": "random", "num_settings": 3, "seed": 0, "round_size": 2}, "search=optuna, or"),
        ({"kind": "optuna", "num_settings": 3, "seed": 0, "round_size": 0}, "must be above zero"),
    ],
)
def test_wrong_settings_of_a_search_are_told(values, told):
    with pytest.raises(ConfigError, match=told):
        SearchConfig(**values)
