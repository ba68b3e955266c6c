"""Layers: language layers, which are stochastic and have prompts, and layers of plain functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dln_core.errors import ConfigError
from dln_core.llm.base import GenerateRequest, ScoreRequest
from dln_core.neighbours import nearest
from dln_core.templates import Template, load_template
from dln_core.types import Message, Prompt, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLayer:
    """p(output | body, prompt): an LLM called on a filled-in template.

    Attributes:
        name: Name in metrics and exports, and for the layers that read it.
        reads: ``input`` and names of earlier layers, in the order in which they are shown.
        template: How prompt and body become a conversation.
        output_name: Field name before what the layer writes.
        prompts: The parameters: one that all copies share, or one a copy.
        trained: Whether training may change the prompts.
        max_tokens: Upper bound on the output, in tokens.
        temperature: Sampling temperature of the forward pass.
        width: M, the number of copies.
        join: How the copies' outputs become one; None if they do not.
        num_nearest: Demonstrations that are shown, those nearest to the body; None shows all.
    """

    name: str
    reads: tuple[str, ...]
    template: Template
    output_name: str
    prompts: tuple[Prompt, ...]
    trained: bool = True
    max_tokens: int = 32
    temperature: float = 0.0
    width: int = 1
    join: str | None = None
    num_nearest: int | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt of a layer that has one."""
        return self.prompts[0]

    def prompt_index(self, lane: int) -> int:
        """Which of the prompts copy ``lane`` uses."""
        return lane if len(self.prompts) > 1 else 0

    def copy(self, lane: int) -> LanguageLayer:
        """Return one copy as a layer of its own."""
        return replace(self, prompts=(self.prompts[self.prompt_index(lane)],), width=1, join=None)

    def with_prompt(self, prompt: Prompt, index: int = 0) -> LanguageLayer:
        """Return the same layer with one prompt replaced."""
        return replace(self, prompts=(*self.prompts[:index], prompt, *self.prompts[index + 1 :]))

    def messages(self, body: str) -> tuple[Message, ...]:
        """Render the conversation that asks for the output on a body, under the first prompt."""
        prompt = self.prompt
        if self.num_nearest is not None:
            shown = nearest(body, prompt.demonstrations, self.num_nearest)
            prompt = replace(prompt, demonstrations=tuple(shown))
        return self.template.messages(prompt, body=body, output_name=self.output_name)

    def generation(
        self, body: str, *, role: Role, temperature: float | None = None, seed: int = 0
    ) -> GenerateRequest:
        """Ask for an output; at the layer's own temperature unless another is given."""
        return GenerateRequest(
            messages=self.messages(body),
            max_tokens=self.max_tokens,
            temperature=self.temperature if temperature is None else temperature,
            seed=seed,
            role=role,
        )

    def scoring(self, body: str, targets: Sequence[str], *, role: Role) -> ScoreRequest:
        """Ask for log p(target | body, prompt) of every target."""
        return ScoreRequest(messages=self.messages(body), targets=tuple(targets), role=role)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain JSON values."""
        return {
            "name": self.name,
            "reads": list(self.reads),
            "template": {"name": self.template.name, "version": self.template.version},
            "output_name": self.output_name,
            "prompts": [prompt.to_dict() for prompt in self.prompts],
            "trained": self.trained,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "width": self.width,
            "join": self.join,
            "num_nearest": self.num_nearest,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLayer:
    """Plain functions that carry out the last action that what they read asks for.

    Attributes:
        name: Name for the layers that read it.
        reads: Names of earlier layers.
        output_name: Field name before what the functions return.
        tools: Names of the functions.
        width: M, the number of copies.
    """

    name: str
    reads: tuple[str, ...]
    output_name: str
    tools: tuple[str, ...]
    width: int = 1
    join: str | None = None
    trained: bool = False
    prompts: tuple[Prompt, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain JSON values."""
        return {
            "name": self.name,
            "reads": list(self.reads),
            "output_name": self.output_name,
            "tools": list(self.tools),
            "width": self.width,
            "join": self.join,
        }


Layer = LanguageLayer | ToolLayer


def layer_from_dict(values: dict[str, Any]) -> Layer:
    """Read what a layer's ``to_dict`` wrote."""
    if "tools" in values:
        return ToolLayer(
            name=values["name"],
            reads=tuple(values["reads"]),
            output_name=values["output_name"],
            tools=tuple(values["tools"]),
            width=values["width"],
            join=values["join"],
        )
    kept = ("name", "output_name", "trained", "max_tokens", "temperature", "width", "join")
    template = load_template(values["template"]["name"])
    if template.version != values["template"]["version"]:
        raise ConfigError(
            f"layer {values['name']} was exported with version {values['template']['version']} of "
            f"the template {template.name}, but this program has version {template.version}; use "
            "the program that it was trained with"
        )
    return LanguageLayer(
        **{key: values[key] for key in kept},
        reads=tuple(values["reads"]),
        template=template,
        prompts=tuple(Prompt.from_dict(prompt) for prompt in values["prompts"]),
        num_nearest=values["num_nearest"],
    )
