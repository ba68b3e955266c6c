"""Judges that the user names."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest

from dln_core.config import DataConfig, TaskConfig
from dln_core.errors import ConfigError, DataError
from dln_core.tasks import Task, load_task
from dln_core.tasks.judges.custom import f1
from dln_core.tasks.own import make_task


def task(judge: object, answer: str = "x") -> Task:
    splits = {name: [(f"{name} question", answer)] for name in ("train", "dev", "test")}
    return make_task("Answer.", splits, judge=judge)


@pytest.mark.parametrize(
    ("judge", "prediction", "target", "verdict"),
    [
        ("exact", " Paris\n", "Paris", True),
        ("exact", "paris", "Paris", False),
        ("exact", "The answer is Paris", "Paris", False),
        ("option", "The answer is (B).", "(B)", True),
        ("option", "(A)", "(B)", False),
        ("number", "It costs $1,000.", "1000.0", True),
        ("number", "-3", "3", False),
        ("set", "red, green and blue", "blue; green; red", True),
        ("set", "1. red\n2. green", "green, red", True),
        ("set", "The answer is: red", "red", True),
        ("set", "red, green", "red", False),
        ("set", "red", "red, green", False),
        ("regex", "call 555-0199", r"call \d{3}-\d{4}", True),
        ("regex", "do call 555-0199 now", r"call \d{3}-\d{4}", False),
        ("f1", "The cat sat on the mat.", "a cat sat on a mat", True),
        ("f1", "a dog", "a cat sat on a mat", False),
        ("f1:0.9", "a cat sat", "a cat sat on a mat", False),
        ("f1:0.6", "a cat sat", "a cat sat on a mat", True),
    ],
)
def test_a_named_judge_gives_its_verdict(judge, prediction, target, verdict):
    assert task(judge, answer="1").judge(prediction, target) == verdict


def test_f1_is_the_harmonic_mean_of_what_is_said_and_wanted():
    # Two of two words said are wanted, two of four wanted ones are said: 2 * 1 * 0.5 / 1.5.
    assert f1("cat sat", "cat sat on mat") == pytest.approx(2 / 3)
    assert f1("", "cat") == f1("dog", "cat") == 0
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)


def test_a_function_may_judge():
    def starts_alike(prediction: str, target: str) -> bool:
        return prediction[:1] == target[:1]

    judged = task(starts_alike)
    assert judged.judge("xylophone", "x")
    assert not judged.judge("piano", "x")
    assert "starts_alike" in judged.judge_name


def test_a_function_is_found_by_its_module_and_its_source_is_in_the_digest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for text in ("prediction == target", "target in prediction"):
        (tmp_path / "my_judges.py").write_text(
            f"def right(prediction, target):\n    return {text}\n"
        )
        sys.modules.pop("my_judges", None)
        importlib.invalidate_caches()
        judged = load_task(TaskConfig(name="triage", judge="my_judges:right"), DataConfig())
        digests.append(judged.digest)
    sys.modules.pop("my_judges", None)
    assert judged.judge("very Urgent", "Urgent")
    assert len({*digests, load_task(TaskConfig(name="triage"), DataConfig()).digest}) == 3


@pytest.mark.parametrize("returned", [1.7, -0.1, float("nan"), "yes", None])
def test_a_judge_that_returns_neither_a_truth_value_nor_a_score_is_told(returned):
    told = r"it must return True or False, or a score from 0 to 1"
    with pytest.raises(ConfigError, match=rf"returned {returned!r}; {told}"):
        task(lambda prediction, target: returned).judge("x", "x")


def test_a_judge_that_fails_is_told_with_what_it_failed_on():
    def fails(prediction: str, target: str) -> bool:
        return prediction[7] == target

    with pytest.raises(
        ConfigError, match=r"fails failed on the answer 'x' \(IndexError: .*any text"
    ):
        task(fails).judge("x", "x")


async def test_a_function_judges_in_a_thread_one_answer_at_a_time():
    threads, alone = set(), threading.Lock()

    def judge(prediction: str, target: str) -> bool:
        threads.add(threading.current_thread())
        if not alone.acquire(blocking=False):
            raise RuntimeError("called while it runs")
        try:
            return prediction == target
        finally:
            alone.release()

    judged = task(judge)
    (example,) = judged.splits.test
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(judged.judged, "x", example)
    assert (await judged.judged("x", example)).is_right
    assert threading.main_thread() not in threads


def test_a_truth_value_of_numpy_is_one():
    assert task(lambda prediction, target: np.bool_(True)).judge("x", "x")


@pytest.mark.parametrize(("score", "is_right"), [(0.49, False), (0.5, True), (1, True), (0, False)])
def test_a_score_of_half_or_more_is_right(score, is_right):
    assert task(lambda prediction, target: score).judge("x", "x") is is_right


def test_a_threshold_moves_what_is_right_and_leaves_the_score():
    said, wanted = "a cat sat", "a cat sat on a mat"
    for judge, is_right in (("f1", True), ("f1:0.6", True), ("f1:0.9", False)):
        verdict = replace(task(judge), metric="mean_score").verdict(said, wanted)
        assert verdict.score == f1(said, wanted) == pytest.approx(2 / 3)
        assert verdict.is_right is is_right


def test_a_verdict_holds_what_the_metric_reads_and_nothing_else():
    triage = load_task(TaskConfig(name="triage"), DataConfig())
    held = {"accuracy": {}, "mean_score": {"score": 1.0}, "macro_f1": {"label": "Urgent"}}
    for metric, more in held.items():
        measured = replace(triage, metric=metric)
        assert measured.verdict("It is Urgent.", "Urgent").to_dict() == {"correct": True} | more
        assert measured.no_answer().to_dict().keys() == {"correct", *more}


def test_macro_f1_reads_the_label_that_a_wrong_answer_states():
    triage = load_task(TaskConfig(name="triage", metric="macro_f1"), DataConfig())
    assert triage.verdict("The answer is normal.", "Urgent").label == "Normal"
    assert triage.verdict("No idea.", "Urgent").label == ""


def test_macro_f1_of_a_task_without_labels_is_refused():
    with pytest.raises(ConfigError, match=r"mean over labels, of which stock_count has none"):
        load_task(TaskConfig(name="stock_count", metric="macro_f1"), DataConfig())
    with pytest.raises(ConfigError, match=r"task.metric=f1 is unknown"):
        TaskConfig(name="triage", metric="f1")


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ("exakt", r"task.judge=exakt is unknown; choose a kind of answer .*exact, set, regex, f1"),
        ("f1:2", r"task.judge=f1:2 needs a threshold above 0 and up to 1"),
        ("f1:much", r"task.judge=f1:much needs a threshold"),
        ("no_such_module:f", r"no_such_module cannot be imported"),
        ("broken_judge:f", r"broken_judge cannot be imported \(ZeroDivisionError"),
        ("math:no_such", r"math has no function no_such"),
        ("math:pi", r"math has no function pi"),
    ],
)
def test_an_unknown_judge_is_refused(judge, told, tmp_path, monkeypatch):
    (tmp_path / "broken_judge.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=told):
        task(judge)


@pytest.mark.parametrize(
    ("judge", "answer", "told"),
    [
        ("number", "many", "line 3: the answer 'many' cannot be read as number"),
        ("option", "the first", "line 3: the answer 'the first' cannot be read as option"),
        ("regex", "(open", r"line 3: '\(open' is no regular expression"),
    ],
)
def test_answers_that_the_judge_could_never_accept_are_told(tmp_path: Path, judge, answer, told):
    path = tmp_path / "mine.csv"
    path.write_text(f"text,answer\nq1,(1)\nq2,{answer}\n", "utf-8")
    config = TaskConfig(
        name="csv", format="csv", path=str(path), input="text", label="answer", judge=judge
    )
    with pytest.raises(DataError, match=told):
        load_task(config, DataConfig())


def test_a_kind_of_answer_that_cannot_read_the_tasks_answers_is_refused():
    for judge in ("number", "option"):
        with pytest.raises(
            ConfigError, match=r"cannot read '(Urgent|Normal)', an answer of triage"
        ):
            load_task(TaskConfig(name="triage", judge=judge), DataConfig())
    with pytest.raises(ConfigError, match=r"cannot read '\d+', an answer of stock_count"):
        load_task(TaskConfig(name="stock_count", judge="label"), DataConfig())


def test_labels_that_the_judge_would_take_for_one_another_are_told(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [f"q{i},{('Don’t know', 'Yes')[i % 2]}\n" for i in range(20)]  # noqa: RUF001
    path.write_text("text,answer\n" + "".join(rows) + "q20,Don't know\n", "utf-8")
    fields = {"format": "csv", "path": str(path), "input": "text", "label": "answer"}
    labels = ["Yes", "Don’t know", "Don't know"]  # noqa: RUF001
    told = r"the answer 'Don’t know' of csv is read as \"Don't know\"; rename"  # noqa: RUF001
    with pytest.raises(ConfigError, match=told):
        load_task(TaskConfig(name="csv", labels=labels, **fields), DataConfig())
    # Another judge may well tell them apart.
    load_task(TaskConfig(name="csv", labels=labels, judge="exact", **fields), DataConfig())
    pairs = {name: [(f"{name} question", "``")] for name in ("train", "dev", "test")}
    with pytest.raises(ConfigError, match=r"the answer '``' of own is read as none of its labels"):
        make_task("Answer.", pairs, labels=["``", "x"])
    with pytest.raises(ConfigError, match=r"labels of own \(``, x, X\) differ in case alone"):
        make_task("Answer.", pairs, labels=["``", "x", "X"])


def test_awkward_labels_are_taken_if_the_judge_tells_them_apart(tmp_path):
    path = tmp_path / "mine.csv"
    labels = ("-1", "0", "1")
    path.write_text("text,answer\n" + "".join(f"q{i},{labels[i % 3]}\n" for i in range(30)))
    fields = {"format": "csv", "path": str(path), "input": "text", "label": "answer"}
    signs = load_task(TaskConfig(name="csv", **fields), DataConfig())
    assert signs.labels == labels
    assert signs.judge("The answer is -1.", "-1")
    assert not signs.judge("-1", "1")


def test_the_judge_of_labels_without_labels_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,answer\n" + "".join(f"q{i},word {i}\n" for i in range(40)), "utf-8")
    fields = {"path": str(path), "input": "text", "label": "answer", "judge": "label"}
    told = (
        r"task.judge=label chooses among labels, of which csv has none; list them with task.label"
    )
    for labels in (None, []):
        with pytest.raises(ConfigError, match=told):
            load_task(TaskConfig(name="csv", format="csv", labels=labels, **fields), DataConfig())
    with pytest.raises(ConfigError, match="of which own has none"):
        task("label")


def test_a_kind_of_answer_replaces_that_of_a_known_task():
    strict = load_task(TaskConfig(name="stock_count", judge="exact"), DataConfig())
    assert not strict.judge("The answer is 7.", "7")
    assert load_task(TaskConfig(name="stock_count"), DataConfig()).judge("The answer is 7.", "7")
