"""The statistics against those of scipy and statsmodels, and intervals against their promise."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from dln_core.stats import (
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_permutation,
    sign_flip_exact,
    t_interval,
    wilson_interval,
)

NUM_CASES = 1000
EXACT = {"rel": 0.0, "abs": 1e-9}


def cases(seed):
    rng = np.random.default_rng(seed)
    return (rng for _ in range(NUM_CASES))


def first_mean(means):
    return means[:, 0]


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def paired_answers(rng, num_items):
    """Right and wrong answers of two methods which are alike more often than by chance."""
    a = rng.random(num_items) < rng.random()
    changed = rng.random(num_items) < rng.random()
    return a, np.where(changed, rng.random(num_items) < rng.random(), a)


def test_mcnemars_test_is_that_of_statsmodels_and_so_is_its_form_by_signs():
    for rng in cases(1):
        a, b = paired_answers(rng, int(rng.integers(1, 200)))
        table = [[np.sum(x & y) for y in (b, ~b)] for x in (a, ~a)]
        expected = mcnemar(table, exact=True).pvalue
        assert mcnemar_exact(a, b) == pytest.approx(expected, **EXACT)
        assert sign_flip_exact((b.astype(int) - a).tolist()) == pytest.approx(expected, **EXACT)


def test_the_test_by_signs_is_scipys_of_all_permutations():
    for rng in cases(2):
        # scipy counts all 2^n signs.
        gains = rng.integers(-6, 7, int(rng.integers(2, 8)))
        expected = stats.permutation_test(
            (gains, np.zeros_like(gains)),
            lambda a, b, axis: np.abs(np.sum(a - b, axis=axis)),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
            vectorized=True,
        ).pvalue
        assert sign_flip_exact(gains.tolist()) == pytest.approx(expected, **EXACT)


def test_swaps_of_clusters_are_the_test_by_signs_of_their_sums():
    for rng in cases(3):
        a, b = paired_answers(rng, 24)
        clusters = [str(name) for name in rng.integers(0, 6, 24)]
        gains = dict.fromkeys(clusters, 0)
        for name, x, y in zip(clusters, a, b, strict=True):
            gains[name] += int(y) - int(x)
        swapped = paired_permutation(column(a), column(b), first_mean, rng, clusters)
        assert swapped == pytest.approx(sign_flip_exact(list(gains.values())), **EXACT)


@pytest.fixture
def frozen_heap():
    """Make garbage collection quick: statsmodels collects in each of its adjustments."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_heap")
def test_holms_adjustment_is_that_of_statsmodels():
    for rng in cases(4):
        p_values = rng.random(int(rng.integers(1, 30))) ** 3
        expected = multipletests(p_values, method="holm")[1]
        assert holm(p_values.tolist()) == pytest.approx(expected.tolist(), **EXACT)
    assert holm([]) == []


def test_intervals_are_those_of_scipy_and_statsmodels():
    for rng in cases(5):
        values = rng.normal(rng.normal(), rng.random() + 0.1, int(rng.integers(2, 12)))
        error = stats.sem(values)
        expected = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=error)
        assert t_interval(values.tolist()) == pytest.approx(expected, **EXACT)
        num_items = int(rng.integers(1, 400))
        num_correct = int(rng.integers(0, num_items + 1))
        expected = proportion_confint(num_correct, num_items, method="wilson")
        assert wilson_interval(num_correct, num_items) == pytest.approx(expected, **EXACT)


def test_one_seed_has_no_interval_and_chances_beyond_one_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        t_interval([0.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.5])


def coverage(intervals, truth):
    low, high = np.array(intervals).T
    return np.mean((low <= truth) & (truth <= high))


def test_students_interval_over_a_few_seeds_covers_at_its_rate():
    rng = np.random.default_rng(6)
    samples = rng.normal(0.7, 0.05, (4000, 3))
    assert 0.93 < coverage([t_interval(row) for row in samples.tolist()], 0.7) < 0.97


def test_wilsons_interval_covers_at_its_rate_over_all_accuracies():
    counts, shares = np.arange(101), np.linspace(0.02, 0.98, 97)
    low, high = np.array([wilson_interval(int(count), 100) for count in counts]).T
    chances = stats.binom.pmf(counts[:, None], 100, shares)
    covered = (low[:, None] <= shares) & (shares <= high[:, None])
    assert 0.93 < (chances * covered).sum(axis=0).mean() < 0.97


@pytest.fixture
def few_resamples(monkeypatch):
    """Draw fewer resamples: the coverage of many intervals is what counts."""
    monkeypatch.setattr("dln_core.stats.resampling.NUM_RESAMPLES", 1000)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("num_items", [20, 100])
def test_the_interval_of_a_difference_covers_at_its_rate(num_items):
    rng = np.random.default_rng(7)
    intervals = []
    for _ in range(1000):
        difficulty = rng.random(num_items)
        a, b = rng.random(num_items) < difficulty, rng.random(num_items) < difficulty**0.5
        intervals.append(paired_bootstrap(column(a), column(b), first_mean, rng))
    # The means of u and of its root, u uniform, are 1/2 and 2/3.
    assert 0.93 < coverage(intervals, 1 / 6) < 0.97


def clustered_answers(rng, num_clusters):
    """Items of one source share their difficulty, and by how much the second method leads."""
    sizes = rng.integers(1, 6, num_clusters)
    names = np.repeat(np.arange(num_clusters), sizes)
    level, lead = rng.random(num_clusters) * 0.5, rng.normal(0.0, 0.4, num_clusters)
    a = rng.random(len(names)) < (0.25 + level)[names]
    b = rng.random(len(names)) < np.clip(0.25 + level + lead, 0, 1)[names]
    return a, b, [str(name) for name in names]


@pytest.mark.usefixtures("few_resamples")
def test_the_interval_of_clustered_items_covers_at_its_rate_only_by_clusters():
    rng = np.random.default_rng(8)
    by_cluster, by_item = [], []
    for _ in range(400):
        a, b, clusters = clustered_answers(rng, 40)
        by_cluster.append(paired_bootstrap(column(a), column(b), first_mean, rng, clusters))
        by_item.append(paired_bootstrap(column(a), column(b), first_mean, rng))
    assert 0.93 < coverage(by_cluster, 0.0) < 0.97
    assert coverage(by_item, 0.0) < 0.9


def test_the_test_of_clustered_items_raises_false_alarms_at_its_rate_only_by_clusters():
    rng = np.random.default_rng(9)
    by_cluster, by_item = [], []
    for _ in range(1000):
        a, b, clusters = clustered_answers(rng, 40)
        gains = b.astype(int) - a
        by_cluster.append(np.bincount([int(name) for name in clusters], gains).astype(int))
        by_item.append(gains)
    alarms = [
        np.mean([sign_flip_exact(gains.tolist()) < 0.05 for gains in tables])
        for tables in (by_cluster, by_item)
    ]
    assert alarms[0] < 0.065
    assert alarms[1] > 0.08


def test_intervals_need_items_of_two_sources():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two sources"):
        paired_bootstrap(column([1, 0]), column([0, 0]), first_mean, rng, ["a", "a"])
    with pytest.raises(ValueError, match="clusters"):
        paired_bootstrap(column([1, 0]), column([0, 0]), first_mean, rng, ["a"])
