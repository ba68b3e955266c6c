"""What is refused of written texts, and why."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.llm.simulated import STOCK_SENTENCES
from dln_core.proposals.evidence import Case, Evidence
from dln_core.proposals.guard import BACKWARD_TEMPLATES, Guard
from dln_core.tasks.cards import cards
from dln_core.templates import load_template
from dln_core.types import Example, Prompt, Splits
from tests.core.proposals.toys import EVIDENCE, NOTHING_HELD_OUT, PARENT

FREE_TEXT = Evidence((), ())
HELD_OUT = "one morning the old miller sold seven sacks of barley to a stranger"
FIXED = "read the following story and say how many sacks are left in the mill"
# Two words alone, so that runs of eight are often shared.
WORDS = st.lists(st.sampled_from(["ab", "cd"]), max_size=30).map(" ".join)


def reason(text, parent=PARENT, evidence=EVIDENCE, guard=NOTHING_HELD_OUT):
    return guard.reason_against(text, parent, evidence)


def examples(*inputs):
    return tuple(Example(id=str(i), input=text, target="") for i, text in enumerate(inputs))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("The student should say Even or Odd.", "echo"),
        ("<<< Even or Odd >>>", "echo"),
        ("Even or Odd? State a rule for each possible answer.", "echo"),
        ("Each text below stands with its right label: Even or Odd.", "echo"),
        ("Please provide the number: Even or Odd?", "asks_user"),
        ("Let me know whether it is Even or Odd.", "asks_user"),
        ("Remember that Item: 3 is Odd, and Item: 4 Even.", "copies_case"),
        ("Item", "copies_case"),
        ("Say Even, or else say nothing.", "drops_label"),
    ],
)
def test_a_useless_text_is_refused_with_its_reason(text, expected):
    assert reason(text) == expected


def test_a_plain_instruction_passes():
    assert reason("Name the parity: Even or Odd.") is None


def test_labels_may_be_named_in_another_case():
    assert reason("Name the parity, even or odd.") is None


def test_labels_that_the_parent_does_not_name_need_not_be_named():
    assert reason("Look at the last digit.", parent=Prompt("Name the parity.")) is None


def test_without_a_parent_all_of_a_few_labels_must_be_named():
    assert reason("Is it Even?", parent=None) == "drops_label"
    assert reason("Is it Even or Odd?", parent=None) is None


@pytest.mark.parametrize(("num_labels", "expected"), [(8, "drops_label"), (9, None)])
def test_without_a_parent_more_than_eight_labels_need_not_be_named(num_labels, expected):
    evidence = Evidence((), (), tuple(f"Class{n}" for n in range(num_labels)))
    assert reason("Choose the class.", parent=None, evidence=evidence) == expected


def test_what_the_parent_says_already_is_no_fault_of_the_writer():
    parent = Prompt(
        "Please give Even or Odd, as a student would. State a rule for each possible answer."
    )
    assert reason(f"{parent.instruction} Look at the last digit.", parent) is None
    assert reason("Please provide the number: Even or Odd?", parent) == "asks_user"


@pytest.mark.parametrize("name", BACKWARD_TEMPLATES)
def test_every_backward_template_is_recognised_when_it_is_repeated(name):
    template = load_template(name)
    lines = [line for line in template.turn.splitlines() if "{" not in line]
    longest = max(lines, key=len)
    assert reason(longest.upper(), None, FREE_TEXT) == "echo"
    for direction in template.meta_instructions:
        assert reason(direction, None, FREE_TEXT) == "echo"


@pytest.mark.parametrize("text", [*STOCK_SENTENCES, *(c.instruction for c in cards().values())])
def test_no_tasks_instruction_sounds_like_a_request(text):
    assert reason(text, None, FREE_TEXT) is None


def test_words_on_both_sides_of_a_value_are_no_fixed_wording():
    text = "Two authors wrote down how to fill in , each in their own way"
    assert reason("how to fill in each in their own", None, FREE_TEXT) is None
    assert reason(text, None, FREE_TEXT) == "echo"


@pytest.mark.parametrize("split", ["dev", "test"])
def test_eight_words_of_a_held_out_input_are_a_copy(split):
    guard = Guard.of(Splits(**{split: examples(HELD_OUT)}))
    copied = "For instance: The OLD miller -- sold seven sacks of barley!"
    assert reason(copied, None, FREE_TEXT, guard) == "copies_held_out"
    assert reason(copied, None, FREE_TEXT) is None


def test_seven_words_of_a_held_out_input_are_none():
    guard = Guard.of(Splits(test=examples(HELD_OUT)))
    assert reason("the old miller sold seven sacks of wheat", None, FREE_TEXT, guard) is None


def test_wording_that_training_inputs_share_is_no_copy():
    splits = Splits(
        train=examples(f"{FIXED}: a farmer bought two sacks"),
        dev=examples(f"{FIXED}: {HELD_OUT}"),
    )
    guard = Guard.of(splits)
    assert reason(f"Always {FIXED}.", None, FREE_TEXT, guard) is None
    assert reason(f"{FIXED} {HELD_OUT}", None, FREE_TEXT, guard) == "copies_held_out"


@given(WORDS, WORDS, WORDS)
def test_a_text_copies_if_it_shares_eight_words_in_a_row_that_training_lacks(train, test, text):
    def runs(words, length):
        words = words.split()
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    guard = Guard.of(Splits(train=examples(train), test=examples(test)))
    # An input of four to seven words counts as a whole.
    length = min(8, max(4, len(test.split())))
    is_copy = bool(runs(text, length) & (runs(test, length) - runs(train, length)))
    expected = "copies_held_out" if is_copy else None
    assert reason(text or "x", None, FREE_TEXT, guard) == expected


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_is_judged_and_copies_of_a_case_never_pass(text, body):
    evidence = Evidence((Case(body, "a", "b"),), ())
    assert reason(f"{text}{body}{text}", None, evidence) is not None
    assert reason(text, Prompt(text), evidence) in (None, "copies_case")


def test_hashes_are_the_same_in_every_process():
    code = (
        "from dln_core.proposals.guard import Guard\n"
        "from dln_core.types import Example, Splits\n"
        f"example = Example(id='0', input={HELD_OUT!r}, target='')\n"
        "print(sorted(Guard.of(Splits(dev=(example,))).held_out))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(sorted(Guard.of(Splits(dev=examples(HELD_OUT))).held_out))


def test_a_short_held_out_input_is_copied_as_a_whole_only():
    short, other = "a gorgeous and quiet film", "nothing is left to say"
    guard = Guard.of(Splits(dev=examples(short), test=examples(other), train=examples("a quiet")))
    assert reason(f"Judge it. {short} is good.", None, FREE_TEXT, guard) == "copies_held_out"
    assert reason(f"Judge it. {other}", None, FREE_TEXT, guard) == "copies_held_out"
    assert reason("Judge it. a gorgeous and quiet song is good.", None, FREE_TEXT, guard) is None


def test_a_short_held_out_input_that_training_inputs_hold_too_is_no_copy():
    short = "the best of them"
    splits = Splits(dev=examples(short), train=examples("say which is the best of them all"))
    assert reason(f"Name {short}.", None, FREE_TEXT, Guard.of(splits)) is None


def test_a_bare_input_is_as_much_a_copy_as_what_the_layer_read():
    source = "the old mill by the river"
    case = Case(f"Item: {source}\nThoughts: hm", "a", "b", source)
    evidence = Evidence((case,), ())
    assert reason("Say b for the old mill by the river.", None, evidence) == "copies_case"
    assert reason("Say b for the old mill.", None, evidence) is None
    short = Evidence((Case("Item: the mill", "a", "b", "the mill"),), ())
    assert reason("Say b for the mill.", None, short) is None
