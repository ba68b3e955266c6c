"""Runs a notebook's cells as a kernel would, and keeps what they print and give.

``python -m tests.notebooks examples/notebook.ipynb`` writes the outputs anew.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import anyio


async def outputs_of(sources: Iterable[str]) -> list[list[dict[str, Any]]]:
    """Run cells one after the other in one namespace; return the outputs of each."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for source in sources:
        printed = io.StringIO()
        with redirect_stdout(printed):
            value = await _run(source, namespace)
        texts = {"stream": printed.getvalue(), "result": "" if value is None else repr(value)}
        outputs.append([_output(kind, text) for kind, text in texts.items() if text])
    return outputs


async def _run(source: str, namespace: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    await _evaluated(compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
    if last is None:
        return None
    expression = ast.Expression(last.value)
    code = compile(expression, "<cell>", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return await _evaluated(code, namespace)


async def _evaluated(code: Any, namespace: dict[str, Any]) -> Any:
    value = eval(code, namespace)
    return await value if inspect.isawaitable(value) else value


def _output(kind: str, text: str) -> dict[str, Any]:
    lines = text.splitlines(keepends=True)
    if kind == "stream":
        return {"name": "stdout", "output_type": "stream", "text": lines}
    return {
        "data": {"text/plain": lines},
        "execution_count": None,
        "metadata": {},
        "output_type": "execute_result",
    }


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def write_outputs(path: Path) -> None:
    """Run a notebook and write its outputs into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = code_cells(notebook)
    outputs = anyio.run(outputs_of, ["".join(cell["source"]) for cell in cells])
    for number, (cell, output) in enumerate(zip(cells, outputs, strict=True), 1):
        for part in output:
            if "execution_count" in part:
                part["execution_count"] = number
        cell |= {"execution_count": number, "outputs": output}
    path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_outputs(Path(sys.argv[1]))
