"""Functions that a network may call: a calculator, and one's own."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dln_core.errors import ConfigError
from dln_core.tools import MAX_OBSERVATION_CHARS, NO_ACTION, calculator, load_tools, observe

CALCULATOR = load_tools(["calculator"])
OWN_FUNCTIONS = """
CAPITALS = {"Japan": "Tokyo"}
def capital(country):
    return CAPITALS[country]
def silent(text):
    return " "
def wordy(text):
    return "word " * 5000
def broken(text):
    raise RuntimeError("two\\nlines")
def number(text):
    return 7
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_tools_of_a_test.py").write_text(OWN_FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_tools_of_a_test", raising=False)
    return "own_tools_of_a_test"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3*(4-1)", "9"),
        ("12/4", "3"),
        ("7/2", "3.5"),
        ("0.1 + 0.2", "0.3"),
        ("7//2 + 7%4", "6"),
        ("-2**2", "-4"),
        ("-(3 - 5)", "2"),
        ("+4", "4"),
        ("2**10", "1024"),
        ("2^10", "1024"),
        ("4**-1", "0.25"),
        ("2**0.5", "1.41421356237"),
        ("1,234,567 + 1", "1234568"),
        ("1,000.50 * 2", "2001"),
        ("6 × 7 ÷ 2 − 1", "20"),  # noqa: RUF001
        (" 3 +\n 4 ", "7"),
        ("0/5", "0"),
        ("0 * -1.5", "0"),
        ("1/3", "0.333333333333"),
        ("1/1000000", "0.000001"),
        ("1/10**9", "1e-09"),
        ("10**29 + 1", "1" + "0" * 28 + "1"),
    ],
)
def test_arithmetic_gives_a_short_decimal(expression: str, value: str) -> None:
    assert calculator(expression) == value


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "cannot read ''"),
        ("x + 1", "cannot read 'x \\+ 1'; write numbers"),
        ("__import__('os').system('true')", "write numbers"),
        ("1e9", "write numbers"),
        ("0x10", "write numbers"),
        ("[1, 2]", "write numbers"),
        ("1,2", "write numbers"),
        ("12,34", "write numbers"),
        ("3 +", "no complete expression"),
        ("(3", "no complete expression"),
        ("3 4", "no complete expression"),
        ("007", "no complete expression"),
        ("3(4)", "anything but numbers"),
        ("()", "anything but numbers"),
        ("...", "anything but numbers"),
        ("1/0", "cannot divide by zero in '1/0'"),
        ("1 % 0", "divide by zero"),
        ("0**-1", "divide by zero"),
        ("9**9**9", "power above 1000"),
        ("9**999", "more than 30 digits"),
        ("0.001**-500", "more than 30 digits"),
        ("10**29 * 10**29", "more than 30 digits"),
        ("9" * 40, "more than 30 digits"),
        ("(-8)**(1/3)", "root of a negative number"),
        ("1+" * 100 + "1", "more than 200 characters"),
        ("-" * 60 + "1", "more than 40 nested"),
        ("(" * 99 + "1" + ")" * 100, "no complete expression"),
        ("1\x00+1", "write numbers"),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        calculator(expression)
    assert "\n" not in str(caught.value)


@given(st.text("0123456789.+-*/%() ,^", max_size=60))
def test_the_calculator_either_answers_or_says_what_is_wrong(expression: str) -> None:
    said = observe(CALCULATOR, f"calculator[{expression}]")
    is_number = said.lstrip("-").replace(".", "", 1).replace("e-", "").replace("e+", "").isdigit()
    assert is_number or said.startswith("calculator: cannot ")


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 99))
def test_whole_numbers_are_exact(a: int, b: int, c: int) -> None:
    expected = Fraction(a * c + b * c * c, c)
    assert calculator(f"({a} * {c} + {b} * {c}**2) / {c}") == str(expected)


@pytest.mark.parametrize(
    ("text", "observation"),
    [
        ("I need calculator[3*(4-1)] for that.", "9"),
        ("First calculator[1+1], then calculator[2+2].", "4"),
        ("Calculator [5 - 2]", "3"),
        ("As in note [1], calculator[6/2]. See [2].", "3"),
        ("I wonder [ calculator[1+2]", "3"),
        ("calculator[1+2] and then calculator[3+", "3"),
        ("calculator[calculator[1]]", "calculator: cannot read 'calculator[1]'; write numbers"),
        ("calculator[x]", "calculator: cannot read 'x'; write numbers"),
        ("calculator[]", "calculator: cannot read ''"),
        ("calculator[1/0]", "calculator: cannot divide by zero in '1/0'"),
        ("calculator[1\n+\n2]", "3"),
    ],
)
def test_the_last_action_of_a_text_is_run(text: str, observation: str) -> None:
    assert observe(CALCULATOR, text).startswith(observation)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3*4",
        "calculator",
        "calculator(3*4)",
        "search[Tokyo]",
        "mycalculator[1]",
        "]]calculator[",
    ],
)
def test_a_text_without_an_action_says_so(text: str) -> None:
    assert observe(CALCULATOR, text) == NO_ACTION


@given(st.text(max_size=200) | st.text("calculator[]+1 ", max_size=200))
def test_no_text_of_a_model_can_raise(text: str) -> None:
    said = observe(CALCULATOR, text)
    assert said
    assert len(said) <= MAX_OBSERVATION_CHARS
    assert len(said.splitlines()) == 1


def test_a_text_made_of_brackets_alone_is_read_once() -> None:
    assert observe(CALCULATOR, "calculator[" * 20_000) == NO_ACTION


def test_a_function_of_ones_own_is_called_by_its_name(own_module: str) -> None:
    tools = load_tools(["calculator", f"{own_module}:capital"])
    assert sorted(tools) == ["calculator", "capital"]
    assert observe(tools, "capital[Japan]") == "Tokyo"
    assert observe(tools, "capital[Japan] calculator[1+1]") == "2"


@pytest.mark.parametrize(
    ("name", "observation"),
    [
        ("capital", "capital: failed with KeyError: 'Atlantis'"),
        ("broken", "broken: failed with RuntimeError: two lines"),
        ("silent", "(nothing)"),
        ("number", "number: gave no text but int"),
    ],
)
def test_a_function_that_misbehaves_gives_one_line(
    own_module: str, name: str, observation: str
) -> None:
    assert observe(load_tools([f"{own_module}:{name}"]), f"{name}[Atlantis]") == observation


def test_a_long_answer_of_a_function_is_cut(own_module: str) -> None:
    said = observe(load_tools([f"{own_module}:wordy"]), "wordy[x]")
    assert len(said) == MAX_OBSERVATION_CHARS


def test_an_error_without_words_still_says_something() -> None:
    def refuse(argument: str) -> str:
        raise ValueError

    assert observe({"refuse": refuse}, "refuse[1]") == "refuse: cannot use this argument"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("calculater", "did you mean calculator.*module:function"),
        ("os.getcwd", "choose from: calculator; or write module:function"),
        (".tools:x", "choose from: calculator"),
        ("a:b:c", "choose from: calculator"),
        ("no_such_module:x", "no_such_module.*cannot be imported.*PYTHONPATH"),
        ("textwrap:dedant", "has no such function; did you mean dedent"),
        ("math:pi", "has no such function"),
        ("textwrap:zzz", "has no such function; check its name"),
    ],
)
def test_a_tool_that_is_not_there_is_a_wrong_setting(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_tools([name])
    assert "\n" not in str(caught.value)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools are named calculator"):
        load_tools(["calculator", "calculator"])


def test_no_names_are_no_tools() -> None:
    assert load_tools([]) == {}
