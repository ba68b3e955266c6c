"""Tools: plain functions that a network layer may consist of instead of a language model.

A language layer asks for one by writing ``name[argument]``; the layer that reads it runs the last
such action and passes on what the tool says, as in ReAct (Yao et al. 2023).
"""

from __future__ import annotations

import ast
import difflib
import importlib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from dln_core.errors import ConfigError

Tool = Callable[[str], str]
Number = int | float

NO_ACTION = "(no action)"
EMPTY_OBSERVATION = "(nothing)"
MAX_OBSERVATION_CHARS = 1000
MAX_ERROR_CHARS = 200

MAX_EXPRESSION_CHARS = 200
MAX_DEPTH = 40
MAX_EXPONENT = 1000
MAX_DIGITS = 30
SIGNIFICANT_DIGITS = 12

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_ARITHMETIC = re.compile(r"[0-9.+\-*/%() ]+")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(,\d{3})+(?![\d,])")
# How language models write operators that Python writes otherwise.
_OPERATORS = str.maketrans(
    {"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-", "^": "**"}
)
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def load_tools(names: Sequence[str]) -> dict[str, Tool]:
    """Find tools by name.

    Args:
        names: ``calculator``, or ``module:function`` for a function that takes and returns a text.

    Returns:
        The tools by the names that actions call them by; a function's is its own.

    Raises:
        ConfigError: If there is no such tool or function, or two share a name.
    """
    tools: dict[str, Tool] = {}
    for name in names:
        key, tool = name.rpartition(":")[2], _load(name)
        if key in tools:
            raise ConfigError(f"two tools are named {key}; leave {name} out or rename it")
        tools[key] = tool
    return tools


def observe(tools: Mapping[str, Tool], text: str) -> str:
    """Run the last action that a text asks for, e.g. ``calculator[3*(4-1)]``.

    What the text holds never raises: what a tool finds wrong with it is the observation.

    Returns:
        What the tool says, cut at ``MAX_OBSERVATION_CHARS``; ``(no action)`` if the text asks for
        none; the tool's name and one line about its error if it failed.
    """
    action = _last_action(tools, text)
    if action is None:
        return NO_ACTION
    name, argument = action
    try:
        said = tools[name](argument)
    except ValueError as error:
        said = f"{name}: {_one_line(error) or 'cannot use this argument'}"
    except Exception as error:  # The boundary to functions that are not ours.
        said = f"{name}: failed with {type(error).__name__}: {_one_line(error)}".rstrip(": ")
    if not isinstance(said, str):
        said = f"{name}: gave no text but {type(said).__name__}"
    return said.strip()[:MAX_OBSERVATION_CHARS] or EMPTY_OBSERVATION


def calculator(expression: str) -> str:
    """Evaluate arithmetic: + - * / // % **, parentheses and numbers, also 1,234,567.

    Returns:
        A short decimal, ``3`` rather than ``3.0``.

    Raises:
        ValueError: If the text is no arithmetic, or its value too large or undefined.
    """
    if len(expression) > MAX_EXPRESSION_CHARS:
        raise ValueError(f"cannot read more than {MAX_EXPRESSION_CHARS} characters")
    shown = _one_line(expression)
    plain = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), shown.translate(_OPERATORS))
    if not _ARITHMETIC.fullmatch(plain):
        raise ValueError(f"cannot read {shown!r}; write numbers, + - * / // % ** and parentheses")
    try:
        tree = ast.parse(plain, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read {shown!r}; it is no complete expression") from error
    try:
        return _decimal(_value(tree.body, MAX_DEPTH))
    except ZeroDivisionError as error:
        raise ValueError(f"cannot divide by zero in {shown!r}") from error


def _load(name: str) -> Tool:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    how = f"choose from: {', '.join(_BUILT_IN)}; or write module:function for one of your own"
    if not _FUNCTION.fullmatch(name):
        near = difflib.get_close_matches(name, _BUILT_IN, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"there is no tool named {name!r}; {guess}{how}")
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"the module of the tool {name} cannot be imported ({error}); install it, or put its "
            "folder into PYTHONPATH"
        ) from error
    functions = [key for key, value in vars(module).items() if callable(value)]
    if function_name not in functions:
        near = difflib.get_close_matches(function_name, functions, n=3, cutoff=0.5)
        guess = f"did you mean {' or '.join(near)}?" if near else "check its name"
        raise ConfigError(f"the module of the tool {name} has no such function; {guess}")
    tool: Tool = getattr(module, function_name)
    return tool


def _last_action(tools: Mapping[str, Tool], text: str) -> tuple[str, str] | None:
    """Name and argument of the action that is closed last; brackets may nest."""
    names = {name.lower(): name for name in tools}
    opened: list[int] = []
    last: tuple[str, str] | None = None
    for index, character in enumerate(text):
        if character == "[":
            opened.append(index)
        elif character == "]" and opened:
            start = opened.pop()
            name = names.get(_word_before(text, start))
            if name is not None:
                last = name, text[start + 1 : index].strip()
    return last


def _word_before(text: str, end: int) -> str:
    # Looking no further back than a name may be long keeps hostile texts linear.
    match = re.search(r"\w+ ?\Z", text[max(0, end - 80) : end])
    return match[0].rstrip().lower() if match else ""


def _value(node: ast.AST, depth: int) -> Number:
    if depth == 0:
        raise ValueError(f"cannot read more than {MAX_DEPTH} nested operations")
    match node:
        case ast.Constant(value=int() | float() as number):
            return _checked(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth - 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth - 1)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, depth - 1), _value(right, depth - 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _checked(_BINARY[type(op)](_value(left, depth - 1), _value(right, depth - 1)))
    raise ValueError("cannot read anything but numbers, + - * / // % ** and parentheses")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError(f"cannot raise to a power above {MAX_EXPONENT}")
    if base < 0 and exponent != int(exponent):
        raise ValueError("cannot take a root of a negative number")
    # Asked beforehand, since the power itself may take for ever.
    if base != 0 and math.log10(abs(base)) * exponent > MAX_DIGITS:
        raise ValueError(f"cannot write a number of more than {MAX_DIGITS} digits")
    power: Number = base**exponent
    return _checked(power)


def _checked(number: Number) -> Number:
    # Comparing first: an integer of many digits fits no float.
    if not abs(number) <= 10**MAX_DIGITS:
        raise ValueError(f"cannot write a number of more than {MAX_DIGITS} digits")
    return number


def _decimal(number: Number) -> str:
    if isinstance(number, int):
        return str(number)
    if number == 0 or 1e-6 <= abs(number) < 1e15:
        rounded = float(f"{number:.{SIGNIFICANT_DIGITS}g}")
        text = f"{rounded:.{SIGNIFICANT_DIGITS}f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return f"{number:.{SIGNIFICANT_DIGITS}g}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:MAX_ERROR_CHARS]


_BUILT_IN: dict[str, Tool] = {"calculator": calculator}
