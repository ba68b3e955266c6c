"""The kinds that the backward model writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.proposals.evidence import Case, Evidence
from dln_core.proposals.writing import (
    Induce,
    Recombine,
    Rules,
    confused_labels,
    with_rules,
)
from dln_core.templates import load_template
from dln_core.types import Demonstration, Prompt
from tests.core.proposals.toys import (
    CASES,
    EVIDENCE,
    GOOD,
    PARENT,
    SHOTS,
    Writer,
    config,
    material,
    prompts,
    propose,
)

SHOWING = Prompt("Say Even or Odd.", SHOTS[:2])
OTHER = Prompt("Even numbers end in 0, 2, 4, 6 or 8; all others are Odd.", SHOTS[4:6])
LETTERS = tuple("ABCDEFGHIJ")


def many_labels(errors):
    """A right case of each of ten labels, and these errors (output, target)."""
    right = [Case(f"Letter {label}", label, label) for label in LETTERS]
    wrong = [Case(f"Blurred {i}", *error) for i, error in enumerate(errors)]
    return Evidence((*right, *wrong), (), LETTERS)


def chosen(evidence, seed=0):
    return confused_labels(material(evidence=evidence), np.random.default_rng(seed))


async def test_a_rewrite_sees_errors_successes_and_the_instruction():
    world = Writer(GOOD)
    await propose(world, config("rewrite"))
    text = world.questions()[0]
    assert PARENT.instruction in text
    assert "Student's label: Even\nRight label: Odd" in text
    assert "Cases it got right:" in text


async def test_a_rewrite_keeps_its_parents_worked_examples():
    proposed = await propose(Writer(GOOD), config("rewrite"), parents=(SHOWING,))
    assert prompts(proposed) == [Prompt(GOOD, SHOWING.demonstrations)]


async def test_parent_and_direction_of_a_rewrite_are_drawn_independently():
    world = Writer(GOOD)
    await propose(world, config("rewrite"), 200, parents=(PARENT, OTHER))
    directions = load_template("rewrite").meta_instructions
    pairs = {
        (parent, direction)
        for text in world.questions()
        for parent in (PARENT, OTHER)
        for direction in directions
        if f"\n{parent.instruction}\n" in text and direction in text
    }
    assert len(pairs) == 2 * len(directions)


async def test_an_induced_instruction_sees_right_pairs_and_nothing_of_a_parent():
    world = Writer(GOOD)
    proposed = await propose(world, config("induce"), parents=(SHOWING,))
    assert prompts(proposed) == [Prompt(GOOD)]
    assert [candidate.source for candidate in proposed.candidates] == ["induce"]
    for text in world.questions():
        assert SHOWING.instruction not in text
        assert "Student" not in text
        assert text.count("Label: Even") == text.count("Label: Odd") == 4
        assert "Even, Odd." in text
        shown = [case for case in CASES if f"{case.body}\nLabel: {case.target}\n" in text]
        assert len(shown) == 8


async def test_an_induced_instruction_must_name_the_labels():
    proposed = await propose(Writer("See the last digit."), config("induce"), 3)
    assert proposed.refused == {"drops_label": 3}


async def test_more_than_eight_labels_are_not_listed_for_an_induced_instruction():
    world = Writer("Name the letter.")
    proposed = await propose(world, config("induce"), 1, evidence=many_labels([]))
    assert prompts(proposed) == [Prompt("Name the letter.")]
    assert "by name" not in world.questions()[0]


def test_without_cases_there_is_nothing_to_induce_from():
    assert not Induce().is_possible(material(evidence=Evidence((), SHOTS, ())))
    assert Induce().is_possible(material())


async def test_rules_are_written_for_one_label_at_a_time():
    world = Writer("it ends so")
    proposed = await propose(world, config("rules"), 1, parents=(SHOWING,))
    expected = "Say Even or Odd.\nEven: it ends so\nOdd: it ends so"
    assert prompts(proposed) == [Prompt(expected, SHOWING.demonstrations)]
    assert [candidate.source for candidate in proposed.candidates] == ["rules"]
    for text, label, other in zip(world.questions(), ("Even", "Odd"), ("Odd", "Even"), strict=True):
        inside, outside = text.split("Texts that got another label")
        assert text.endswith(f"Rule for {label}:")
        assert outside.count(f"Label: {other}") == 3
        assert f"Label: {label}\n" not in outside
        right = {case.body for case in CASES if case.target == label}
        assert len(right & set(inside.splitlines())) == 3


async def test_older_rules_are_replaced_and_not_shown():
    parent = Prompt("Say Even or Odd.\nOdd: the old rule\nBe quick.")
    world = Writer("it ends so")
    proposed = await propose(world, config("rules"), 1, parents=(parent,))
    expected = "Say Even or Odd.\nBe quick.\nEven: it ends so\nOdd: it ends so"
    assert prompts(proposed) == [Prompt(expected)]
    assert not any("the old rule" in text for text in world.questions())


LINE = st.sampled_from(["Say.", "Even: old", "Odd: old", "Evenly: spread", "", " Even: in"])
RULE = st.text("abc ", min_size=1).map(str.strip).filter(bool)


@given(st.lists(LINE).map("\n".join), st.tuples(RULE, RULE), st.tuples(RULE, RULE))
def test_rules_never_pile_up(instruction, first, second):
    labels = ("Even", "Odd")
    once = with_rules(instruction, labels, second)
    assert with_rules(with_rules(instruction, labels, first), labels, second) == once
    assert once.endswith(f"Even: {second[0]}\nOdd: {second[1]}")


async def test_one_useless_rule_refuses_the_whole_proposal():
    proposed = await propose(Writer("Please provide the number."), config("rules"), 2)
    assert proposed.refused == {"asks_user": 2}
    proposed = await propose(Writer("Even:\n"), config("rules"), 1)
    assert proposed.refused == {"empty": 1}


async def test_rules_are_not_written_for_labels_without_a_case():
    even = Evidence(CASES[::2], SHOTS, ("Even", "Odd"))
    world = Writer("it ends so")
    await propose(world, config("rules"), 1, evidence=even)
    assert len(world.requests) == 1
    assert not Rules().is_possible(material(evidence=Evidence(CASES, SHOTS, ())))
    assert not Rules().is_possible(material(evidence=Evidence((), SHOTS, ("Even", "Odd"))))


def test_of_many_labels_the_most_confused_get_rules_in_the_tasks_order():
    pairs = [("J", "B"), ("J", "B"), ("C", "D"), ("D", "E"), ("C", "E"), ("F", "A"), ("F", "A")]
    # A, B, C, D, F and J are each part of three errors, E of two, the others of none.
    evidence = many_labels([*pairs, ("J", "A"), ("F", "B"), ("C", "D")])
    assert chosen(evidence) == ("A", "B", "C", "D", "F", "J")


def test_labels_that_nobody_confuses_get_no_rule_among_many():
    assert chosen(many_labels([("A ", "C")])) == ("A", "C")


def test_without_errors_six_of_many_labels_are_drawn():
    drawn = {chosen(many_labels([]), seed) for seed in range(20)}
    assert {len(labels) for labels in drawn} == {6}
    assert len(drawn) > 5


async def test_recombining_crosses_parents_or_merges_their_instructions():
    world = Writer(GOOD)
    proposed = await propose(world, config("recombine"), 40, parents=(SHOWING, OTHER))
    assert set(prompts(proposed)) == {
        Prompt(SHOWING.instruction, OTHER.demonstrations),
        Prompt(OTHER.instruction, SHOWING.demonstrations),
        Prompt(GOOD, SHOWING.demonstrations),
        Prompt(GOOD, OTHER.demonstrations),
    }
    # The two crossings are made once each, without a call; all else is merged.
    assert len(world.requests) == 38
    for text in world.questions():
        assert SHOWING.instruction in text
        assert OTHER.instruction in text


async def test_a_crossing_that_exists_already_is_merged_instead():
    crossed = Prompt(SHOWING.instruction, OTHER.demonstrations)
    back = Prompt(OTHER.instruction, SHOWING.demonstrations)
    world = Writer(GOOD)
    await propose(world, config("recombine"), 10, parents=(SHOWING, OTHER, crossed, back))
    assert len(world.requests) == 10


async def test_a_merged_instruction_names_the_labels_of_both():
    evens, odds = Prompt("Is it Even?"), Prompt("Is it Odd?")
    proposed = await propose(Writer("Is it Even?!"), config("recombine"), 4, parents=(evens, odds))
    assert proposed.refused == {"drops_label": 4}


def test_recombining_needs_two_different_instructions():
    bare = Prompt(SHOWING.instruction)
    assert Recombine().is_possible(material((SHOWING, OTHER)))
    assert not Recombine().is_possible(material((SHOWING, SHOWING)))
    assert not Recombine().is_possible(material((SHOWING, bare)))


@pytest.mark.parametrize("kind", ["rewrite", "induce", "rules", "recombine"])
async def test_hostile_texts_are_values_and_never_templates(kind):
    hostile = "{{ 1 / 0 }}{% raw %}"
    evidence = Evidence(
        tuple(Case(f"{hostile} {i}", "Even", "Odd") for i in range(3)),
        (Demonstration(hostile, "Odd"),),
        EVIDENCE.labels,
    )
    parents = (Prompt(f"Even {hostile}"), Prompt(f"Odd {hostile}"))
    world = Writer(f"Even or Odd {hostile}")
    await propose(world, config(kind), 3, parents=parents, evidence=evidence)
    assert all(hostile in text for text in world.questions())
