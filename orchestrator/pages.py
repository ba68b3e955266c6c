"""A step's prompts and candidates as pages that read well in a browser."""

from __future__ import annotations

import math
from typing import Any

COLUMNS = (
    "layer", "prompt", "source", "selected", "reward", "objective", "trust_region_kl",
    "num_examples", "instruction", "demonstrations",
)  # fmt: skip


def prompts_page(event: dict[str, Any]) -> str:
    """Write a step's prompts by layer, and its candidates from the best reward down, as Markdown.

    Texts stand in fences longer than any within them: what a model wrote never becomes markup.
    """
    lines = [f"# {'Prompts at the start' if event['step'] == 0 else 'Step ' + str(event['step'])}"]
    lines += ["", *_metric_lines(event["metrics"])]
    lines += network_lines(event["network"])
    if event["candidates"]:
        lines += ["## Candidates", "", *_candidate_lines(event["candidates"])]
    return "\n".join(lines) + "\n"


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


def candidates_table(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a step's candidates, best reward first, in the layout of MLflow's tables."""
    rows = [[candidate.get(column) for column in COLUMNS] for candidate in _ranked(candidates)]
    return {"columns": list(COLUMNS), "data": rows}


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
    return ["| metric | value |", "|---|---|", *rows, ""]


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


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}text", text, fence]
