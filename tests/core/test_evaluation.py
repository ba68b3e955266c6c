"""What is recorded of an answer."""

from __future__ import annotations

from dln_core.evaluation import NUM_SAMPLES, Prediction, samples
from dln_core.tasks.task import Verdict
from dln_core.trace import Trace
from dln_core.types import Example
from dln_core.voting import Answer


def prediction(name, source="", texts=("Yes",)):
    example = Example(id=name, input="Is it?", target="Yes", source=source)
    trace = Trace(texts=texts, answer=Answer("Yes"))
    return Prediction(example, trace, Verdict(is_right=True))


def test_items_that_share_a_source_name_it_and_others_do_not():
    assert prediction("a", source="paragraph 7").to_dict()["group"] == "paragraph 7"
    assert "group" not in prediction("a").to_dict()


def test_hidden_texts_of_the_first_items_are_kept_and_none_of_a_single_layer():
    hidden = [prediction(str(number), texts=("Because.", "Yes")) for number in range(9)]
    assert [one["hidden"] for one in samples(hidden)] == [["Because."]] * NUM_SAMPLES
    assert samples([prediction("a")]) == ()
