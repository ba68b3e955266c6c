"""A step's prompts and candidates as pages that read well in a browser."""

from __future__ import annotations

from typing import Any

COLUMNS = ("layer", "source", "selected", "reward", "objective", "trust_region_kl", "instruction")


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
    """Write a network's prompts by layer as lines of Markdown."""
    lines: list[str] = []
    for index, layer in enumerate(network["layers"]):
        lines += [f"## Layer {index + 1}: {layer['name']}", ""]
        lines += [*_fenced(layer["prompt"]["instruction"]), ""]
        for number, shown in enumerate(layer["prompt"]["demonstrations"], start=1):
            lines += [f"Demonstration {number}", ""]
            lines += [*_fenced(f"{shown['input']}\n-> {shown['output']}"), ""]
    return lines


def candidates_table(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a step's candidates, best reward first, in the layout of MLflow's tables."""
    columns = (*COLUMNS, "demonstrations")
    rows = [[candidate.get(column) for column in columns] for candidate in _ranked(candidates)]
    return {"columns": list(columns), "data": rows}


def _ranked(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(candidates, key=lambda c: (c["layer"], -c["reward"], c["index"]))


def _metric_lines(metrics: dict[str, float]) -> list[str]:
    if not metrics:
        return []
    rows = [f"| {name} | {value:.6g} |" for name, value in sorted(metrics.items())]
    return ["| metric | value |", "|---|---|", *rows, ""]


def _candidate_lines(candidates: list[dict[str, Any]]) -> list[str]:
    lines = ["| layer | selected | reward | source | demonstrations | instruction |"]
    lines += ["|---|---|---|---|---|---|"]
    for candidate in _ranked(candidates):
        cells = (
            str(candidate["layer"]),
            "**selected**" if candidate["selected"] else "",
            f"{candidate['reward']:.4f}",
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
