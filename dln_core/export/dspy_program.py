"""A Deep Language Network as a DSPy module: prompts as they were trained, DSPy's LM to answer.

Each text that a model writes is a ``dspy.Predict`` whose instructions and demos are the learned
ones, so that DSPy shows, saves and optimises them like its own.  With an LM configured::

    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    network(input="…").answer
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import dspy


class ConversationAdapter(dspy.Adapter):  # type: ignore[misc]
    """Sends the conversation that was trained, instead of DSPy's own layout of fields.

    Args:
        opening: What stands before the first turn.
        instructions: What DSPy made of it: another indentation, or a default where there is none.
    """

    def __init__(self, opening: str, instructions: str) -> None:
        super().__init__()
        self._opening = opening
        self._instructions = instructions

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        """Write demos and question as turns, after the opening."""
        messages = []
        for demo in demos:
            messages.append({"role": "user", "content": demo["turn"]})
            messages.append({"role": "assistant", "content": demo["text"]})
        messages.append({"role": "user", "content": inputs["turn"]})
        # What nobody changed since is sent as it was trained, to the letter.
        is_changed = signature.instructions != self._instructions
        opening = signature.instructions if is_changed else self._opening
        if opening:
            messages[0]["content"] = f"{opening}\n\n{messages[0]['content']}"
        return messages

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Take the whole completion as the text."""
        return {"text": completion.strip()}


class DeepLanguageNetwork(dspy.Module):  # type: ignore[misc]
    """Runs a network of which every text is written in order.

    Args:
        network: ``input``, ``empty_text``, ``layers`` and ``answer``, as they stand below.
    """

    def __init__(self, network: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        layers = [layer for layer in network["layers"] if "turn" in layer]
        self.writers = {layer["text"]: _predictor(layer) for layer in layers}
        self._adapters = {
            layer["text"]: ConversationAdapter(layer["opening"], _signature(layer).instructions)
            for layer in layers
        }

    def forward(self, input: str) -> dspy.Prediction:
        """Answer an input; ``texts`` holds all that was written on the way."""
        texts: dict[str, str] = {}
        filled = {self.network["input"]: input}
        for layer in self.network["layers"]:
            text = self._text(layer, texts, filled)
            texts[layer["text"]] = text
            filled[layer["placeholder"]] = text or self.network["empty_text"]
        answers = [texts[name] for name in self.network["answer"]["texts"]]
        return dspy.Prediction(answer=most_frequent(answers), texts=texts)

    def _text(self, layer: Mapping[str, Any], texts: dict[str, str], filled: dict[str, str]) -> str:
        if "majority" in layer:
            return most_frequent(texts[name] for name in layer["majority"])
        name = layer["text"]
        with dspy.context(adapter=self._adapters[name]):
            written = self.writers[name](turn=fill(layer["turn"], filled))
        return str(written.text)


def load(text: str) -> DeepLanguageNetwork:
    """Make the module of the JSON below."""
    return DeepLanguageNetwork(json.loads(text))


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace all placeholders at once: what is filled in is not searched again."""
    pattern = "|".join(map(re.escape, values))
    return re.sub(pattern, lambda match: values[match[0]], template)


def most_frequent(texts: Iterable[str]) -> str:
    """Return the most frequent text, the first of equals; case and a final stop do not count."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(" ".join(text.lower().split()).rstrip("."), []).append(text)
    return max(groups.values(), key=len)[0]


def _signature(layer: Mapping[str, Any]) -> Any:
    return dspy.Signature("turn -> text").with_instructions(layer["opening"])


def _predictor(layer: Mapping[str, Any]) -> dspy.Predict:
    predictor = dspy.Predict(_signature(layer), **layer["sampling"])
    predictor.demos = [dspy.Example(**shown).with_inputs("turn") for shown in layer["demos"]]
    return predictor
