"""What a search varies, read from Hydra's grammar."""

from __future__ import annotations

import pytest

from dln_core.errors import ConfigError
from orchestrator.search.sampling import draw
from orchestrator.settings.compose import Composer

SMALL = ("llm=simulated", "search=random", "search.num_settings=24")


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def space_of(composer, *arguments):
    """The space, and the configurations of the settings drawn from it."""
    spaces = []

    def first(_run, space):
        spaces.append(space)
        return []

    composer.compose([*SMALL, *arguments], choose=first)
    return spaces[0]


def test_every_form_of_hydras_grammar_is_drawn_from_as_it_says(composer):
    configs = composer.compose(
        [*SMALL, "trainer.num_hidden=2,3,5", "trainer.num_prompts=choice(2,5)",
         "trainer.num_iterations=range(12,19,3)", "trainer.proposal.num_cases=int(interval(2,4))",
         "trainer.posterior.mutual_information=range(0,0.35,0.1)",
         "trainer.selection.trust_factor=tag(log,interval(1e-4,1))"],
    )  # fmt: skip
    trainers = [config.trainer for config in configs]
    assert {trainer.num_hidden for trainer in trainers} == {2, 3, 5}
    assert {trainer.num_prompts for trainer in trainers} == {2, 5}
    assert {trainer.num_iterations for trainer in trainers} == {12, 15, 18}
    assert {trainer.proposal.num_cases for trainer in trainers} == {2, 3, 4}
    assert {t.posterior.mutual_information for t in trainers} == {0.0, 0.1, 0.2, 0.3}
    factors = [trainer.selection.trust_factor for trainer in trainers]
    assert all(1e-4 <= factor <= 1 for factor in factors)
    # Half of the powers of ten, not a hundredth of the interval.
    assert 6 <= sum(factor < 1e-2 for factor in factors) <= 18


def test_drawn_numbers_can_be_read_and_stay_in_their_interval(composer):
    space = space_of(composer, "trainer.guide.temperature=interval(0.123456,0.123457)")
    (numbers,) = space.dimensions
    for value in (0.123456, 0.1234565, 0.123457):
        text = numbers.text(value)
        assert 0.123456 <= numbers.value(text) <= 0.123457
    assert space_of(composer, "trainer.guide.temperature=interval(0.1,1)").setting(
        {"trainer.guide.temperature": 0.123456789}
    ) == {"trainer.guide.temperature": "0.1235"}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ("range(1,2,0.25)", ["1.0", "1.25", "1.5", "1.75"]),
        ("range(1.0,1.2,0.0625)", ["1.0", "1.0625", "1.125", "1.1875"]),
        ("range(0.12345,0.4,0.1)", ["0.12345", "0.22345", "0.32345"]),
        ("range(0.2,0,-0.05)", ["0.05", "0.1", "0.15", "0.2"]),
        ("range(-1,1,0.4)", ["-1.0", "-0.6", "-0.2", "0.2", "0.6"]),
        ("range(0,0.9,0.3)", ["0.0", "0.3", "0.6"]),
        ("range(10001.5,10001.6,0.0333)", ["10001.5", "10001.5333", "10001.5666", "10001.5999"]),
        ("range(1,10,4)", ["1", "5", "9"]),
        ("range(10,1,-3)", ["4", "7", "10"]),
    ],
)
def test_all_values_of_a_range_are_drawn_and_no_others(composer, values, texts):
    space = space_of(composer, f"trainer.guide.temperature={values}")
    drawn = {setting["trainer.guide.temperature"] for setting in draw(space, 100, seed=0)}
    assert sorted(drawn, key=float) == texts


@pytest.mark.parametrize("values", ["interval(10001.5,10009.5)", "tag(log,interval(1e4,10008))"])
def test_a_narrow_interval_is_drawn_from_between_its_ends(composer, values):
    space = space_of(composer, f"trainer.guide.temperature={values}")
    drawn = {setting["trainer.guide.temperature"] for setting in draw(space, 100, seed=0)}
    assert len(drawn) > 90
    assert max(map(len, drawn)) == len("10001.501")


def test_tasks_networks_and_seeds_are_run_in_full_for_every_setting(composer):
    configs = composer.compose(
        [*SMALL, "search.num_settings=2", "task=triage,routing", "network=dln1,dln2", "seed=1,2",
         "trainer.num_hidden=range(2,90)", "data.max_dev=8,9"],
    )  # fmt: skip
    points = [(c.task.name, c.network.name, c.seed, c.data.max_dev) for c in configs]
    assert len(configs) == 32
    assert points[:16] == points[16:]
    assert len(set(points)) == 16
    assert len({config.trainer.num_hidden for config in configs[:16]}) == 1
    assert configs[0].trainer.num_hidden != configs[16].trainer.num_hidden


def test_what_a_sweep_file_varies_can_be_searched(composer):
    arguments = ["+sweep=smoke", "search=random", "search.num_settings=2"]
    configs = composer.compose([*arguments, "trainer.num_hidden=2,3"])
    assert len(configs) == 2 * 6


def test_values_that_are_no_plain_values_do_not_mix(composer):
    tables = "llm.extra=choice({a:1},{b:2})"
    extras = [config.llm.extra for config in composer.compose([*SMALL, tables])]
    assert {str(extra) for extra in extras} == {"{'a': 1}", "{'b': 2}"}


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("seed=1,2", "there is nothing to search"),
        ("trainer.num_hidden=tag(lin,range(1,3))", "the tag lin"),
        ("trainer.num_hidden=tag(log,choice(1,3))", "cannot be searched"),
        ("trainer.num_hidden=tag(log,range(1,9,2))", "steps, which a logarithmic scale"),
        ("trainer.num_hidden=range(4,1)", "holds no value"),
        ("trainer.num_hidden=range(1,4,0)", "has no end"),
        ("trainer.guide.temperature=range(0,inf,0.5)", "has no end"),
        ("trainer.guide.temperature=interval(0,inf)", "has no end"),
        ("trainer.guide.temperature=interval(2,1)", "ends before it begins"),
        ("trainer.guide.temperature=tag(log,interval(0,1))", "must be above zero"),
        ("trainer.num_hidden=interval(2,5)", "must be a whole number"),
        ("trainer.num_hidden=2,3 seed=interval(1,5)", "is an interval"),
    ],
)
def test_what_cannot_be_searched_is_told(composer, argument, told):
    with pytest.raises(ConfigError, match=told):
        composer.compose([*SMALL, *argument.split()])


def test_an_interval_asks_for_a_search(composer):
    with pytest.raises(ConfigError, match="choose search=random or search=optuna"):
        composer.compose(["trainer.guide.temperature=interval(0.1,1)"], multirun=True)
