"""A step's prompts and candidates as pages that read well in a browser."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from typing import Any

COLUMNS = (
    "layer", "prompt", "selected", "reward", "instruction", "demonstrations", "source", "objective",
    "trust_region_kl", "num_examples",
)  # fmt: skip


def prompts_page(event: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Write what a step changed, its prompts by layer, its candidates and metrics as Markdown.

    Texts stand in fences longer than any within them: what a model wrote never becomes markup.

    Args:
        event: The start of a trial or a step of it.
        before: The network before the step; None at the start.
    """
    lines = [f"# {'Prompts at the start' if event['step'] == 0 else 'Step ' + str(event['step'])}"]
    lines.append("")
    if before is not None:
        changes = _changes(before, event["network"])
        lines += ["## Changes", "", *(_fenced(changes, "diff") if changes else ["None."]), ""]
    lines += network_lines(event["network"])
    if event["candidates"]:
        lines += ["## Candidates", "", *_candidate_lines(event["candidates"])]
    return "\n".join([*lines, *_metric_lines(event["metrics"])]) + "\n"


def network_page(title: str, network: dict[str, Any]) -> str:
    """Write a network's prompts by layer as Markdown."""
    return "\n".join([f"# {title}", "", *network_lines(network)]) + "\n"


def network_lines(network: dict[str, Any]) -> list[str]:
    """Write a network's prompts by layer as lines of Markdown; of a layer of tools their names."""
    lines: list[str] = []
    for index, layer in enumerate(network["layers"]):
        copies = "" if layer["width"] == 1 else f" ({layer['width']} copies)"
        lines += [f"## Layer {index + 1}: {_cell(layer['name'])}{copies}", ""]
        if "tools" in layer:
            lines += ["Tools: " + ", ".join(map(_cell, layer["tools"])), ""]
            continue
        for number, prompt in enumerate(layer["prompts"], start=1):
            if len(layer["prompts"]) > 1:
                lines += [f"### Prompt {number}", ""]
            lines += _prompt_lines(prompt)
    return lines


def candidates_csv(candidates: list[dict[str, Any]]) -> str:
    """Write a step's candidates as a table, by prompt and from the best reward down."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for candidate in _ranked(candidates):
        shown = [f"{one['input']} -> {one['output']}" for one in candidate["demonstrations"]]
        row = candidate | {"prompt": candidate["prompt"] + 1, "demonstrations": "\n".join(shown)}
        writer.writerow({name: _rounded(value) for name, value in row.items()})
    return text.getvalue()


def prompt_text(prompt: dict[str, Any]) -> str:
    """Write a prompt as plain text: its instruction, then its demonstrations."""
    parts = [prompt["instruction"]]
    parts += [f"{shown['input']}\n-> {shown['output']}" for shown in prompt["demonstrations"]]
    return "\n\n".join(parts)


def _rounded(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value


def _changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Write how prompts changed, a sentence a line; empty if they did not."""
    changed = difflib.unified_diff(_sentences(before), _sentences(after), lineterm="")
    lines = [line for line in changed if not line.startswith(("--- ", "+++ ", "@@ "))]
    return "\n".join(lines)


def _sentences(network: dict[str, Any]) -> list[str]:
    """All that is learned of a network, in lines short enough to be compared by eye."""
    lines: list[str] = []
    for layer in network["layers"]:
        for number, prompt in enumerate(layer.get("prompts", ()), start=1):
            lines.append(f"[{layer['name']}, prompt {number}]")
            for line in prompt_text(prompt).splitlines():
                lines += re.split(r"(?<=[.!?])\s+", line)
    return lines


def _prompt_lines(prompt: dict[str, Any]) -> list[str]:
    lines = [*_fenced(prompt["instruction"]), ""]
    for number, shown in enumerate(prompt["demonstrations"], start=1):
        lines += [f"Demonstration {number}", ""]
        lines += [*_fenced(f"{shown['input']}\n-> {shown['output']}"), ""]
    return lines


def _ranked(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort by prompt and reward; a candidate too long for the context has none and comes last."""

    def order(candidate: dict[str, Any]) -> tuple[str, int, float, int]:
        reward = candidate["reward"]
        behind = math.inf if reward is None else -reward
        return candidate["layer"], candidate["prompt"], behind, candidate["index"]

    return sorted(candidates, key=order)


def _metric_lines(metrics: dict[str, float]) -> list[str]:
    if not metrics:
        return []
    rows = [f"| {name} | {value:.6g} |" for name, value in sorted(metrics.items())]
    return ["", "## Metrics", "", "| metric | value |", "|---|---|", *rows, ""]


def _candidate_lines(candidates: list[dict[str, Any]]) -> list[str]:
    headings = ("layer", "prompt", "selected", "reward", "examples", "source", "demonstrations")
    lines = ["| " + " | ".join((*headings, "instruction")) + " |", "|---" * 8 + "|"]
    for candidate in _ranked(candidates):
        reward = candidate["reward"]
        cells = (
            _cell(candidate["layer"]),
            str(candidate["prompt"] + 1),
            "**selected**" if candidate["selected"] else "",
            "too long" if reward is None else f"{reward:.4f}",
            str(candidate["num_examples"]),
            _cell(candidate["source"]),
            str(len(candidate["demonstrations"])),
            _cell(candidate["instruction"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(text: str) -> str:
    flat = " ".join(text.split())
    for character in "\\`*_[]<>|!":
        flat = flat.replace(character, "\\" + character)
    return flat


def _fenced(text: str, language: str = "text") -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", text, fence]
