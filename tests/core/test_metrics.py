"""What networks are measured by, on items as they are recorded."""

from __future__ import annotations

import pytest

from dln_core.config import (
    CacheConfig,
    DataConfig,
    LayerConfig,
    LLMConfig,
    NetworkConfig,
    TaskConfig,
    TrainerConfig,
    TrialSettings,
)
from dln_core.identity import baseline_id, trial_id
from dln_core.metrics import difference, interval, measured, p_value
from dln_core.stats import mcnemar_exact, wilson_interval
from dln_core.tasks.own import make_task
from dln_core.trial import Services, Trial

SIMULATED = LLMConfig(provider="simulated", model="simulated")


def items(*pairs):
    """Items of a label that is wanted and one that is given."""
    return [{"target": t, "label": g, "correct": t == g} for t, g in pairs]


def scored(*scores):
    return [{"score": score, "correct": score >= 0.5} for score in scores]


THREE_CLASSES = items(("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "a"), ("c", ""))


def test_accuracy_is_the_share_of_right_answers_with_wilsons_interval_and_mcnemars_test():
    before, after = scored(0, 0, 1, 0), scored(1, 1, 1, 0)
    assert measured("accuracy", after) == 0.75
    assert interval("accuracy", after) == wilson_interval(3, 4)
    assert p_value("accuracy", before, after) == mcnemar_exact(
        [False, False, True, False], [True, True, True, False]
    )


def test_macro_f1_is_the_mean_over_labels_that_are_wanted_or_given():
    # a: 2*1/(2+2), b: 2*2/(2+3), c: 0; what states no label is no class of its own.
    assert measured("macro_f1", THREE_CLASSES) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert measured("macro_f1", items(("a", "a"), ("b", "b"))) == 1.0
    assert measured("macro_f1", items(("a", ""), ("b", "a"))) == 0.0


def test_macro_f1_agrees_with_scikit_learn():
    from sklearn.metrics import f1_score

    pairs = [("ab"[i % 2], "abc"[i * i % 3]) for i in range(20)]
    wanted, given = zip(*pairs, strict=True)
    assert measured("macro_f1", items(*pairs)) == pytest.approx(
        f1_score(wanted, given, average="macro", zero_division=0.0)
    )


def test_always_naming_one_of_two_labels_is_accurate_and_poor_by_macro_f1():
    lazy = items(*[("a", "a")] * 9, ("b", "a"))
    assert measured("accuracy", lazy) == 0.9
    assert measured("macro_f1", lazy) == pytest.approx((18 / 19) / 2)


def test_the_mean_score_counts_what_is_half_right():
    assert measured("mean_score", scored(1, 0.5, 0, 0.25)) == 0.4375


@pytest.mark.parametrize(
    ("metric", "judged"),
    [("macro_f1", THREE_CLASSES), ("mean_score", scored(1, 0.5, 0, 0.25, 0.75))],
)
def test_an_interval_holds_its_value_and_is_the_same_in_every_run(metric, judged):
    low, high = interval(metric, judged)
    assert 0.0 <= low < measured(metric, judged) < high <= 1.0
    assert interval(metric, judged) == (low, high)


def test_a_test_by_swaps_pairs_the_items():
    before, after = scored(0, 0.5, 0.25, 0), scored(0.5, 1, 0.75, 0.5)
    assert p_value("mean_score", before, after) == pytest.approx(2 / 16)
    # Each of the two swaps alone turns the difference around or away.
    before, after = items(("a", "b"), ("b", "b")), items(("a", "a"), ("b", "a"))
    assert p_value("macro_f1", before, before) == 1.0
    assert 0.0 < p_value("macro_f1", before, after) <= 1.0


def test_swaps_that_undo_each_other_are_one_p_value_whatever_the_labels_are_called():
    pairs = [("a", "b"), ("b", "b"), ("a", "a"), ("b", "a")] * 3
    after = [(target, target) for target, _ in pairs]
    renamed = {"a": "z", "b": "y"}
    there = p_value("macro_f1", items(*pairs), items(*after))
    again = p_value(
        "macro_f1",
        items(*((renamed[t], renamed[g]) for t, g in pairs)),
        items(*((renamed[t], renamed[g]) for t, g in after)),
    )
    assert there == pytest.approx(again)
    # Six of twelve items differ: all or none of them swapped is as far apart, and no other choice.
    assert there == pytest.approx(2 / 2**6)


def settings(**changes):
    network = NetworkConfig(name="zero_shot", layers=[LayerConfig(trained=False)])
    values = {"data": DataConfig(max_dev=8, max_test=12), "network": network, "llm": SIMULATED}
    return TrialSettings(**(values | changes))


def test_another_metric_is_another_trial_and_accuracy_is_the_one_it_was():
    names = {
        (trial_id(chosen, "data"), baseline_id(chosen, "data"))
        for metric in ("accuracy", "macro_f1", "mean_score")
        for chosen in [settings(task=TaskConfig(metric=metric))]
    }
    assert len({first for first, _ in names}) == len({second for _, second in names}) == 3
    assert trial_id(settings(), "data") in {first for first, _ in names}


async def finished(chosen, tmp_path, **opened):
    services = Services(cache=CacheConfig(mode="off", dir=str(tmp_path)))
    async with Trial.open(chosen, services, **opened) as trial:
        advance = await trial.advance(None)
        while not advance.done:
            advance = await trial.advance(advance.state)
    return advance.event


async def test_a_trial_is_measured_by_the_metric_of_its_task(tmp_path):
    accurate = await finished(settings(), tmp_path)
    assert "metric" not in accurate["test"]
    assert not {"score", "label"} & accurate["predictions"][0].keys()
    balanced = await finished(settings(task=TaskConfig(metric="macro_f1")), tmp_path)
    assert balanced["test"]["metric"] == "macro_f1"
    assert balanced["test"]["num_correct"] == accurate["test"]["num_correct"]
    assert balanced["test"]["accuracy"] == measured("macro_f1", balanced["predictions"])
    assert balanced["metrics"]["test/accuracy"] == balanced["test"]["accuracy"]


async def test_training_goes_by_scores_where_these_are_what_counts(tmp_path):
    def shared_letters(prediction: str, target: str) -> float:
        said, wanted = set(prediction), set(target)
        return len(said & wanted) / max(1, len(said | wanted))

    pairs = {
        split: [(f"{split} {word}", word) for word in ("one", "two", "three", "four")]
        for split in ("train", "dev", "test")
    }
    own = make_task("Spell it.", pairs, judge=shared_letters, metric="mean_score")
    network = NetworkConfig(name="dln1", layers=[LayerConfig()])
    trainer = TrainerConfig(num_iterations=1, batch_size=2, num_prompts=2, num_hidden=2)
    chosen = settings(network=network, trainer=trainer)
    chosen.scoring.rung = "monte_carlo"
    event = await finished(chosen, tmp_path, task=own)
    scores = [item["score"] for item in event["predictions"]]
    assert event["test"]["accuracy"] == sum(scores) / len(scores)
    assert any(0.0 < score < 1.0 for score in scores)


def test_two_seeds_of_an_item_are_one_unit_and_so_are_items_of_one_source():
    def run(*right):
        return [{"id": str(i), "correct": one} for i, one in enumerate(right)]

    before, after = [run(False, False, False)], [run(True, True, False), run(True, False, False)]
    each = difference("accuracy", before, after, ["a", "b", "c"])
    assert each.value == pytest.approx(1 / 2)
    # Gains of 2 and 1 halves of an answer: two of four patterns of signs reach their sum.
    assert (each.p_value, each.num_clusters) == (pytest.approx(2 / 4), 3)
    assert difference("accuracy", before, after, ["a", "a", "c"]).p_value == 1.0


def test_a_difference_of_one_seed_each_is_judged_like_the_p_value():
    scores = [[0.1, 0.9, 0.4, 0.6], [0.5, 0.8, 0.9, 0.7]]
    runs = [[{"correct": False, "score": score} for score in values] for values in scores]
    names = ["a", "b", "c", "d"]
    found = difference("mean_score", runs[:1], runs[1:], names)
    assert found.value == pytest.approx(0.225)
    assert found.low < found.value < found.high
    assert found.p_value == pytest.approx(p_value("mean_score", *runs))
    labels = [[{"correct": x == y, "target": x, "label": y} for x, y in pairs]
              for pairs in (("ab", "aa", "bb", "ba"), ("aa", "aa", "bb", "ba"))]  # fmt: skip
    found = difference("macro_f1", labels[:1], labels[1:], names)
    before, after = (measured("macro_f1", run) for run in labels)
    assert found.value == pytest.approx(after - before)
    assert found.p_value == pytest.approx(p_value("macro_f1", *labels))
