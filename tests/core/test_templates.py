"""Templates and layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.errors import ConfigError
from dln_core.templates import load_template, template_names
from dln_core.types import Demonstration, Message, Prompt


def test_the_instruction_opens_the_first_turn_and_examples_are_turns():
    prompt = Prompt("Decide.", (Demonstration("Item: a", "Yes"),))
    messages = load_template("answer").messages(prompt, body="Item: b", output_name="Label")
    assert messages == (
        Message("user", "Decide.\n\nItem: a\nLabel:"),
        Message("assistant", "Yes"),
        Message("user", "Item: b\nLabel:"),
    )


def test_an_empty_instruction_leaves_no_blank_lines():
    messages = load_template("answer").messages(Prompt(""), body="Item: b", output_name="Label")
    assert messages == (Message("user", "Item: b\nLabel:"),)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_what_a_model_wrote_is_never_read_as_a_template(text):
    hostile = text + "{{ output_name }}{% for x in y %}"
    prompt = Prompt(f"a{hostile}z", (Demonstration(f"b{hostile}z", hostile),))
    messages = load_template("answer").messages(prompt, body=f"c{hostile}z", output_name="L")
    assert messages[0].text == f"a{hostile}z\n\nb{hostile}z\nL:"
    assert messages[1].text == hostile
    assert messages[2].text == f"c{hostile}z\nL:"


def test_an_unknown_template_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="'nope'; choose one of: answer, edit, hidden"):
        load_template("nope")
    with pytest.raises(ConfigError, match="no template"):
        load_template("../conf/config")


def test_every_template_has_a_version():
    assert all(load_template(name).version >= 1 for name in template_names())
