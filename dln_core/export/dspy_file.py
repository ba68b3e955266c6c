"""A learned network as a Python file that needs DSPy alone."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from importlib import resources
from typing import Any

from dln_core.errors import ConfigError
from dln_core.export.template import messages_template
from dln_core.layers import LanguageLayer
from dln_core.network import Network
from dln_core.types import Prompt

HOW_TO_INSTALL = "pip install 'dln[dspy]'"


def dspy_source(network: Network, model: str) -> str:
    """Write a Python file whose ``network`` is a ``dspy.Module`` that asks what the network asks.

    What was learned stands in it as one ASCII string of JSON, so that no text can become code.

    Args:
        network: What is exported; its answer is written, not chosen among labels.
        model: Name of the model that it was trained for.

    Raises:
        ConfigError: If DSPy is not installed, or the network has tools or examples by nearness.
    """
    if importlib.util.find_spec("dspy") is None:
        raise ConfigError(
            f"a DSPy module needs DSPy, which is not installed; install it by {HOW_TO_INSTALL}, or "
            "export messages"
        )
    template = messages_template(network, model)
    layers = []
    for index, entry in enumerate(template["layers"]):
        if "tools" in entry:
            raise ConfigError(
                f"layer {entry['layer']} consists of tools, which a DSPy file cannot bring along; "
                "use dln_core.load_network"
            )
        is_written = "messages" in entry
        layers.append(_written(network.writer(index), entry) if is_written else entry)
    values = json.dumps({**template, "layers": layers})
    program = resources.files("dln_core.export").joinpath("dspy_program.py").read_text("utf-8")
    return f"{program}\n\nnetwork = load({values!r})\n"


def _written(writer: LanguageLayer, entry: dict[str, Any]) -> dict[str, Any]:
    """Take a conversation apart into what DSPy knows: instructions, demos and the question."""
    turns = [message["content"] for message in entry["messages"]]
    bare = replace(writer, prompts=(Prompt(writer.prompt.instruction),), num_nearest=None)
    question = writer.template.question(body="", output_name=writer.output_name)
    opening = bare.messages("")[0].text.removesuffix(question).removesuffix("\n\n")
    if opening:
        turns[0] = turns[0].removeprefix(f"{opening}\n\n")
    demos = [
        {"turn": turn, "text": text} for turn, text in zip(turns[:-1:2], turns[1::2], strict=True)
    ]
    kept = {key: entry[key] for key in ("layer", "text", "placeholder", "sampling")}
    return {**kept, "opening": opening, "demos": demos, "turn": turns[-1]}
