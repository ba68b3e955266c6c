"""Head-room and interaction: right on values that are known, and never too sure of few items."""

from __future__ import annotations

import numpy as np
import pytest

from dln_core.headroom import Difference, gain, interaction
from dln_core.stats import resampling
from dln_core.vi.weights import Array

ONE = np.ones(20)
NONE = np.zeros(20)
# What twenty items that agree leave open: Clopper-Pearson's bound for none of twenty.
OPEN = 1.0 - 0.025 ** (1 / 20)
NUM_SAMPLES = 200


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many intervals are made: fewer draws each leave their quantiles nearly where they are."""
    monkeypatch.setattr(resampling, "NUM_RESAMPLES", 2_000)


def near(value: float) -> object:
    return pytest.approx(value, abs=0.01)


def test_a_prompt_that_is_always_better_gains_the_difference() -> None:
    found = gain(np.stack([NONE, ONE, NONE]))
    # On a scale from -1 to 1; two prompts might have been the best one.
    low = 1.0 - 2.0 * (1.0 - 0.0125 ** (1 / 20))
    assert found == Difference(1.0, near(low), 1.0)


def test_prompts_that_answer_alike_gain_nothing_but_few_items_leave_that_open() -> None:
    low = -(1.0 - 0.0125 ** (1 / 20))
    assert gain(np.stack([ONE, ONE, NONE])) == Difference(0.0, near(low), near(OPEN))
    assert gain(np.ones((2, 10))).high > gain(np.ones((2, 400))).high > 0.0
    assert gain(np.ones((2, 400))).high < 0.01


def test_the_other_prompts_may_lose() -> None:
    found = gain(np.stack([ONE, NONE, NONE]))
    assert found.mean == -1.0
    assert found.low == -1.0
    assert found.high < -0.5


@pytest.mark.usefixtures("few_draws")
def test_what_luck_alone_makes_best_gains_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    gains, naive = [], []
    for _ in range(100):
        values = (rng.random((12, 40)) < 0.5).astype(float)
        gains.append(gain(values).mean)
        naive.append((values.mean(axis=1).max() - values[0].mean()).item())
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))
    assert np.mean(naive) > 0.1


def answers(rng: np.random.Generator, chances: Array, num_items: int, agreement: float) -> Array:
    """Right and wrong answers, P x n; prompts share the luck of an item as often as they agree."""
    shape = (len(chances), num_items)
    is_shared = rng.random(shape) < agreement
    luck = np.where(is_shared, rng.random(num_items), rng.random(shape))
    return (luck < chances[:, None]).astype(float)


@pytest.mark.parametrize(("num_items", "agreement"), [(10, 0.9), (40, 0.0)])
@pytest.mark.parametrize(
    "chances",
    [[0.5] * 6, [0.95] * 6, [0.7] + [0.5] * 5, [0.5] * 5 + [0.7], [0.2] + [0.25] * 4 + [0.9]],
    ids=["none better", "all easy", "all worse", "one better", "one far better"],
)
@pytest.mark.usefixtures("few_draws")
def test_the_interval_covers_what_the_best_prompt_gains(
    chances: list[float], num_items: int, agreement: float
) -> None:
    rng = np.random.default_rng(3)
    truth = max(chances[1:]) - chances[0]
    misses = 0
    for _ in range(NUM_SAMPLES):
        found = gain(answers(rng, np.array(chances), num_items, agreement))
        misses += not found.low <= truth <= found.high
    assert misses <= 0.05 * NUM_SAMPLES


@pytest.mark.parametrize("spread", [0.05, 1.0])
@pytest.mark.usefixtures("few_draws")
def test_the_interval_covers_gains_of_graded_answers(spread: float) -> None:
    rng = np.random.default_rng(4)
    misses = 0
    for _ in range(NUM_SAMPLES):
        # Skewed: most answers are worth nearly nothing; the second prompt is better by a half.
        graded = rng.beta(0.3 * spread, 0.9 * spread, (2, 12))
        graded[1] = (1.0 + graded[1]) / 2.0
        truth = 0.5 + 0.25 / 2.0 - 0.25
        found = gain(graded)
        misses += not found.low <= truth <= found.high
    assert misses <= 0.05 * NUM_SAMPLES


def test_what_adds_up_does_not_interact_but_few_items_leave_that_open() -> None:
    rng = np.random.default_rng(1)
    first, last, items = rng.random((3, 1, 1)), rng.random((1, 4, 1)), rng.random((1, 1, 20))
    contrast = interaction((first + last + items) / 3.0).contrast
    assert contrast.mean == pytest.approx(0.0, abs=1e-9)
    # Six pairs share the tail, and a contrast may be 2.
    margin = 2.0 * (1.0 - (0.025 / 6) ** (1 / 20))
    assert (contrast.low, contrast.high) == (
        pytest.approx(-margin, 0.1),
        pytest.approx(margin, 0.1),
    )


def test_the_pair_that_works_together_alone_is_found() -> None:
    values = np.zeros((3, 3, 20))
    values[2, 1] = 1.0
    found = interaction(values)
    assert (found.first, found.last) == (2, 1)
    assert found.contrast.mean == 1.0
    assert 0.0 < found.contrast.low < 1.0 < found.contrast.high


def test_the_interval_holds_for_all_pairs_at_once() -> None:
    rng = np.random.default_rng(2)
    values = (rng.random((2, 2, 40)) < 0.5).astype(float)
    one = interaction(values).contrast
    # The same pair, given twice more, has to answer for three more.
    several = interaction(values[[0, 1, 1]][:, [0, 1, 1]]).contrast
    assert several.mean == one.mean
    assert several.low < one.low
    assert several.high > one.high


@pytest.mark.usefixtures("few_draws")
def test_few_items_show_no_interaction_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    chances = np.array([0.3, 0.4, 0.5, 0.3, 0.4, 0.5, 0.3, 0.4, 0.5])
    shown = 0
    for _ in range(NUM_SAMPLES):
        contrast = interaction(answers(rng, chances, 10, 0.5).reshape(3, 3, -1)).contrast
        shown += contrast.low > 0.0 or contrast.high < 0.0
    assert shown <= 0.05 * NUM_SAMPLES
